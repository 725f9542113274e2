import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { CliHost, Selection } from '../../../src/cli/host.ts';
import { runCli } from '../../../src/cli/main.ts';
import type { Agent } from '../../../src/domain/agent.ts';
import { Config } from '../../../src/domain/configuration/config.ts';
import type { DoctorDocument } from '../../../src/domain/doctor/doctor.ts';
import { AgentError } from '../../../src/domain/errors/errors.ts';
import type { ExitCode } from '../../../src/domain/errors/registry.ts';
import type { DeployHost } from '../../../src/domain/host/deploy.ts';
import { readConfiguration, toError } from '../../../src/plan/configuration/configuration.ts';
import { layoutOf } from '../../../src/plan/configuration/layout.ts';
import { createFakeHost, type FakeHost } from '../../fakes/host.ts';
import { createFakePrograms, type FakePrograms } from '../../fakes/programs.ts';
import { anApi } from './api.ts';
import { aDoctorDocument, aVersionDocument } from './machine-documents.ts';

export interface CliRun {
  readonly code: ExitCode;
  readonly stdout: string;
  readonly stderr: string;
}

export interface TestHostOptions {
  readonly root: string;
  /** What `startInProcess` hands out; absent: it refuses, so that a test sees an unwanted use. */
  readonly local?: Agent;
  readonly doctor?: DoctorDocument;
  /** Texts of shipped files; null: this build has none of that name. */
  readonly assets?: Readonly<Record<string, string | null>>;
  readonly machine?: FakeHost;
  readonly programs?: FakePrograms;
  /** The file that this program is. */
  readonly program?: string;
  /** What `deploy` comes to. */
  readonly deployed?: readonly DeployHost[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly isTty?: boolean;
  readonly columns?: number;
}

export interface TestHost extends CliHost {
  readonly out: () => string;
  readonly err: () => string;
  /** Ctrl-C. */
  interrupt(): void;
  readonly listeners: () => number;
  /** Calls of functions of the host, in order. */
  readonly calls: { readonly call: string; readonly argument: unknown }[];
}

/** The program around the command line, in memory. */
export function testHost(options: TestHostOptions): TestHost {
  let out = '';
  let err = '';
  const interrupts = new Set<() => void>();
  const calls: { call: string; argument: unknown }[] = [];
  const isTty = options.isTty ?? false;
  const columns = options.columns ?? (isTty ? 80 : 0);
  const machine = options.machine ?? createFakeHost();
  const environment = { LANG: 'C.UTF-8', AGENT_ROOT: options.root, ...options.environment };
  return {
    out: () => out,
    err: () => err,
    calls,
    interrupt: () => {
      for (const listener of interrupts) listener();
    },
    listeners: () => interrupts.size,
    stdout: {
      write: (text) => {
        out += text;
      },
      isTty,
      columns,
    },
    stderr: {
      write: (text) => {
        err += text;
      },
      isTty,
      columns,
    },
    environment,
    workingDirectory: options.root,
    version: aVersionDocument(),
    onInterrupt: (listener) => {
      interrupts.add(listener);
      return () => interrupts.delete(listener);
    },
    readConfiguration: async (selection: Selection, others = environment) => {
      calls.push({ call: 'readConfiguration', argument: selection });
      if (selection.configFile?.includes('missing') === true)
        throw new AgentError('CONFIG_NOT_FOUND', `${selection.configFile} does not exist`);
      const result = readConfiguration({ file: null, environment: others, flags: selection.flags, workingDirectory: options.root });
      if (!result.ok) throw toError(result.problems);
      return { ...result, layout: layoutOf(result.config), file: null };
    },
    runDaemon: async (argument) => {
      calls.push({ call: 'runDaemon', argument });
      return 0;
    },
    startInProcess: async (argument) => {
      calls.push({ call: 'startInProcess', argument });
      if (options.local === undefined) throw new AgentError('ROOT_LOCKED', 'another agent owns this root');
      return { agent: options.local, close: async () => void calls.push({ call: 'close', argument: null }) };
    },
    deploy: async (request, onChange) => {
      calls.push({ call: 'deploy', argument: request });
      return (options.deployed ?? []).map((host) => {
        onChange(host);
        return host;
      });
    },
    doctor: async (selection, others) => {
      calls.push({ call: 'doctor', argument: others ?? selection });
      return options.doctor ?? aDoctorDocument();
    },
    program: { file: options.program ?? '/media/usb/agent' },
    system: async () => machine,
    programs: async () => options.programs ?? createFakePrograms(),
    asset: async (name) => {
      const text = options.assets?.[name];
      if (text === null) throw new Error(`no such asset: ${name}`);
      return text ?? `# ${name}\nExecStart=/usr/local/bin/agent run\nRequiresMountsFor=/workspace\n`;
    },
  };
}

export async function runOn(host: TestHost, ...argv: string[]): Promise<CliRun> {
  const code = await runCli(argv, host);
  return { code, stdout: host.out(), stderr: host.err() };
}

export interface CliLab {
  readonly root: string;
  /** Serves the agent on the root's socket, by the real API. */
  serve(agent: Agent): Promise<{ close(): Promise<void> }>;
  /** One command with a host of its own. */
  run(argv: readonly string[], options?: Omit<TestHostOptions, 'root'>): Promise<CliRun>;
  close(): Promise<void>;
}

/** A root of its own with the directories that the socket needs. */
export async function cliLab(): Promise<CliLab> {
  const root = await mkdtemp(join(tmpdir(), 'agent-cli-'));
  const layout = layoutOf(Config.parse({ root }));
  await mkdir(layout.run, { recursive: true });
  await mkdir(layout.state, { recursive: true });
  const closing: (() => Promise<void>)[] = [];
  return {
    root,
    async serve(agent) {
      const api = await anApi(agent);
      await api.listenSocket(layout.socket);
      closing.push(() => api.close());
      return api;
    },
    run: (argv, options = {}) => runOn(testHost({ root, ...options }), ...argv),
    async close() {
      for (const close of closing.splice(0)) await close();
      await rm(root, { recursive: true, force: true });
    },
  };
}
