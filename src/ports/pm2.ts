import type { InstanceLaunch, Pm2Entry, ProcessEvent, ProcessState } from '../domain/instances/instance.ts';

/** PM2: hosts and respawns the instances. One call at a time for each name; every call has a time limit. */
export interface Processes {
  /** Connects; in owned mode launches the daemon when there is none, and with `replace` in place of one that is deaf. */
  connect(options?: { readonly replace?: boolean }): Promise<void>;
  list(): Promise<readonly ProcessState[]>;
  /** Whether it can be started at all. @throws AgentError TEMPLATE_INVALID, INSTANCE_FAILED, as `start` would */
  check(entry: Pm2Entry): Promise<void>;
  /** Deletes an entry of that name, then starts the new one (PM2 would merge). */
  start(entry: Pm2Entry): Promise<void>;
  /** Stops the process tree and keeps the entry stopped. */
  stop(name: string): Promise<void>;
  /** Stops and forgets. Not an error when there is none. */
  remove(name: string): Promise<void>;
  onEvent(listener: (event: ProcessEvent) => void): () => void;
  /** RSS of the daemon and its pid, for figures. */
  daemonPid(): Promise<number | null>;
  /** Leaves the daemon running. */
  disconnect(): Promise<void>;
  /** Removes every entry and ends the daemon (owned mode, agent exit). */
  shutdown(): Promise<void>;
}

/** ecosystem.template.js, or the replacement named by `pm2.template`. @throws AgentError TEMPLATE_INVALID */
export interface EntryTemplate {
  toEntry(launch: InstanceLaunch, templateFile: string | null): Promise<Pm2Entry>;
}
