import type { Agent, VersionDocument } from '../domain/agent.ts';
import type { Config, Layout, Provenance } from '../domain/configuration/config.ts';
import type { DoctorDocument } from '../domain/doctor/doctor.ts';
import type { ExitCode } from '../domain/errors/registry.ts';
import type { DeployHost, DeployRequest } from '../domain/host/deploy.ts';
import type { HostAction, HostFacts, HostQuestion } from '../domain/host/host.ts';
import type { Programs } from '../domain/host/upgrade.ts';

/** A stream for people or programs. A reader that went away (EPIPE) is the host's concern: it ends the program quietly. */
export interface CliOutput {
  write(text: string): void;
  readonly isTty: boolean;
  /** Width of the terminal; 0 when it is none. */
  readonly columns: number;
}

/** What the command line says about the configuration: `--config`, and flags that set keys (`--root`, `--port`, `--host`). */
export interface Selection {
  readonly configFile: string | null;
  readonly flags: readonly { readonly key: string; readonly value: unknown; readonly flag: string }[];
}

/** The effective configuration, without secrets. The engine's LoadedConfiguration fits as it is. */
export interface CliConfiguration {
  readonly config: Config;
  readonly layout: Layout;
  readonly provenance: readonly Provenance[];
  readonly file: string | null;
  readonly warnings: readonly string[];
}

/** The facade inside this program, for verbs that work while no agent runs. */
export interface LocalAgent {
  readonly agent: Agent;
  /** Ends what runs in it (an operation is interrupted) and gives the root back. */
  close(): Promise<void>;
}

/** The operating system around, for `agent setup`. */
export interface CliSystem {
  facts(question: HostQuestion): Promise<HostFacts>;
  carryOut(action: HostAction): Promise<void>;
}

/** How this program can be run again: one file by itself, or a script by an interpreter. */
export type CliProgram = { readonly file: string } | { readonly command: readonly string[] };

/**
 * All that the command line needs of the program around it: implemented once in main.ts, and by tests. Each function
 * loads what it needs when it is called, so that verbs which ask a running agent load nothing heavy.
 */
export interface CliHost {
  readonly stdout: CliOutput;
  readonly stderr: CliOutput;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly workingDirectory: string;
  readonly version: VersionDocument;
  /** Called for each SIGINT and SIGTERM while a listener is there; answers with how to stop listening. */
  onInterrupt(listener: () => void): () => void;
  /**
   * @param environment in place of the environment of this program
   * @throws AgentError CONFIG_INVALID with `details.problems`, CONFIG_NOT_FOUND
   */
  readConfiguration(selection: Selection, environment?: Readonly<Record<string, string | undefined>>): Promise<CliConfiguration>;
  /** `agent run`: resolves when the daemon has ended. It handles signals by itself. */
  runDaemon(options: Selection & { readonly quiet: boolean; readonly verbose: boolean }): Promise<ExitCode>;
  /**
   * Looks at everything once, then hands out the facade.
   * `change` takes the root's lock; `read` writes nothing that an agent beside it would mind.
   * @throws AgentError ROOT_LOCKED, and what the configuration or the root has against it
   */
  startInProcess(options: Selection & { readonly purpose: 'read' | 'change' }): Promise<LocalAgent>;
  /** Puts the agent on other hosts. @throws AgentError of the request itself; what happens on a host is in its document */
  deploy(request: DeployRequest, onChange: (host: DeployHost) => void, signal: AbortSignal): Promise<readonly DeployHost[]>;
  /**
   * Looks without a usable root and with a bad configuration too: both are findings.
   * @param environment in place of the environment of this program: that of a service
   */
  doctor(selection: Selection, environment?: Readonly<Record<string, string>>): Promise<DoctorDocument>;
  readonly program: CliProgram;
  system(): Promise<CliSystem>;
  /** For `agent upgrade`. */
  programs(): Promise<Programs>;
  /** Text of a file that ships with the program, by its name below `assets/`. */
  asset(name: string): Promise<string>;
}
