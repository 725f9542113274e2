import type { MemoryRoom, Space } from './upkeep.ts';

/** What was observed of the resources of one instance. Moments are epoch milliseconds. */
export interface ResourceFacts {
  readonly memory: InstanceMemory | null;
  readonly log: InstanceLog | null;
}

export interface InstanceMemory {
  /** Key of the incarnation that was looked at: of another one it says nothing. */
  readonly incarnation: string;
  /** Resident memory of its process and all its descendants. */
  readonly residentBytes: number;
  readonly processes: number;
  /** Above the budget at every look since then; null: it is not, or there is none. */
  readonly overSince: number | null;
  /** How fast it grew over the last minutes; null: not known yet. */
  readonly bytesPerHour: number | null;
}

export interface InstanceLog {
  readonly path: string;
  readonly bytesPerSecond: number;
  /** Faster than configured since then; null: it is not. */
  readonly floodingSince: number | null;
  /** Thrown away by the rotation. */
  readonly cutBytes: number;
}

/** One filesystem of those the agent and its instances write to. */
export interface DiskFacts {
  /** What lies on it: root, outputs, temp, cache, state. */
  readonly holds: readonly string[];
  readonly path: string;
  readonly space: Space;
  /** How fast it fills; null: not known yet. Negative: it empties. */
  readonly bytesPerSecond: number | null;
  /** Below one of the thresholds, or about to be full, since then. */
  readonly lowSince: number | null;
}

export interface ClockJump {
  /** By the clock after the jump. */
  readonly at: number;
  /** Forwards when positive. */
  readonly byMs: number;
}

/** What was observed of the machine. */
export interface MachineResources {
  readonly disks: readonly DiskFacts[];
  /** null: not looked yet, or it cannot be read. */
  readonly memory: MemoryRoom | null;
  readonly memoryLowSince: number | null;
  readonly clockJumps: readonly ClockJump[];
}

export const NO_MACHINE_RESOURCES: MachineResources = { disks: [], memory: null, memoryLowSince: null, clockJumps: [] };
