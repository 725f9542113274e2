/** The machine as set-up and a service manager know it; the rest of the outer world is in `ports.ts`. */

import type { HostAction, HostFacts, HostQuestion } from '../domain/host/host.ts';

/** Users, files and units of this machine, for `agent setup`. Programs of the system are taken from its own directories, never from PATH. */
export interface HostSystem {
  /** Changes nothing. What may not be looked at counts as not there: it is root who asks. */
  facts(question: HostQuestion): Promise<HostFacts>;
  /**
   * One change; done again it changes nothing more. Files are whole or not there, with their rights from the beginning.
   * @throws AgentError COMMAND_FAILED with what the command said; SYSTEM_TOOL_MISSING; PREFIX_NOT_WRITABLE; DISK_FULL
   */
  carryOut(action: HostAction): Promise<void>;
}

/** What a service manager is told; what is left out has not changed. */
export interface ServiceState {
  readonly phase?: 'ready' | 'reloading' | 'stopping';
  /** For people, one line. */
  readonly status?: string;
  /** A sign of life. */
  readonly alive?: true;
}

/** Whoever started this program and wants to know how it is (systemd, Type=notify); nobody, where it was started by hand. */
export interface ServiceManager {
  /** A sign of life is expected at least this often, in ms; null: it is not. */
  readonly watchdogMs: number | null;
  /** One after the other, in the order of the calls. Never rejects: a service manager that does not hear is told in the log. */
  notify(state: ServiceState): Promise<void>;
}
