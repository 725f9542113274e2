import type { KernelMessage } from '../domain/cards/kernel-message.ts';
import type { Incarnation, PortHolder } from '../domain/instances/instance.ts';
import type { MemoryCounters } from '../domain/instances/memory-group.ts';
import type { ProcessIdentity } from '../domain/instances/ownership.ts';

/**
 * Facts of the kernel about processes and ports (Linux /proc). Never signals anything by itself. A process that is there
 * and may not be read, or is hidden (hidepid), is neither gone nor a stranger: `incarnation`, `tree`, `residentBytes` and
 * `end` reject with FILE_UNREADABLE then.
 */
export interface Kernel {
  /** null when there is no such process. */
  incarnation(pid: number): Promise<Incarnation | null>;
  /** Command line for people, secrets not masked by us; null when unreadable. */
  command(pid: number): Promise<string | null>;
  /** Value of an environment variable of a process; null when unset or unreadable. */
  environmentOf(pid: number, name: string): Promise<string | null>;
  /** Its incarnation and these variables of its environment; null: no such process. Rejects too when the environment may not be read. */
  identity(pid: number, names: readonly string[]): Promise<ProcessIdentity | null>;
  /** pids of the process, all its descendants, and what is in the session or group that it leads; the process first. */
  tree(pid: number): Promise<readonly number[]>;
  /** Listening holders of the given ports; a holder's pid is null when it may not be read. */
  portHolders(tcpPorts: readonly number[]): Promise<readonly PortHolder[]>;
  /** Whether this pid listens on the port: a cheap check of one process. `null` when it cannot be told. */
  listensOn(pid: number, tcpPort: number): Promise<boolean | null>;
  /** All processes whose environment has name=value, or the name with any value. Those that may not be read are passed over. */
  withEnvironment(name: string, value: string | null): Promise<readonly number[]>;
  /** Bytes of resident memory. */
  residentBytes(pid: number): Promise<number | null>;
  /**
   * What a process does just now: its state (R, S, D, T stopped, t traced, …), and the CPU time that it and all its living
   * descendants have used. `waitsForDisk`: one of them is in an uninterruptible wait. null when there is no such process.
   */
  activity(pid: number): Promise<{ readonly state: string; readonly cpuMs: number; readonly waitsForDisk: boolean } | null>;
  /** Memory cgroup of a process (its directory), to be remembered while it lives; null: none, or not to be seen. */
  memoryGroup(pid: number): Promise<string | null>;
  /** What the kernel counted in a memory cgroup, of version 1 or 2; null when it cannot be read. */
  memoryCounters(group: string): Promise<MemoryCounters | null>;
  /** The newest line of the kernel's log that tells of this pid's end by the OOM killer; null: none, or the log may not be read. */
  outOfMemoryLine(pid: number): Promise<string | null>;
  /** Signals the process, only if it still is the named incarnation. */
  end(incarnation: Pick<Incarnation, 'pid' | 'startTicks'>, signal: 'SIGINT' | 'SIGTERM' | 'SIGKILL'): Promise<boolean>;
}

/** The log of the kernel: /dev/kmsg, else the system's journal. Both reject with KERNEL_LOG_UNREADABLE. */
export interface KernelLog {
  /** What the log still holds of messages with these words in them. */
  read(words: string): Promise<readonly KernelMessage[]>;
  /** The same, then each new one within about a second; ends with the abort. */
  follow(words: string, onMessage: (message: KernelMessage) => void, signal: AbortSignal): Promise<void>;
}
