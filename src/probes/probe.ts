import type { Config } from '../domain/configuration/config.ts';
import type { ProbeResult } from '../domain/health/health.ts';
import type { LayerName } from '../domain/instances/instance.ts';
import type { Clock } from '../ports/clock.ts';
import type { Comfy } from '../ports/comfyui.ts';
import type { Files } from '../ports/files.ts';
import type { Kernel } from '../ports/kernel.ts';

/** One running instance as probes see it. A new incarnation is a new target. */
export interface ProbeTarget {
  readonly gpu: number;
  readonly name: string;
  readonly baseUrl: string;
  readonly tcpPort: number;
  readonly pid: number;
  readonly incarnation: string;
  readonly logFile: string;
  readonly config: Config;
  /** Node packs that loaded when the release was proved. */
  readonly expectedPacks: readonly string[];
  /** The canary, in API format. */
  readonly canary: object;
  /** A canary of this incarnation that passed under an earlier agent. */
  readonly proof: ProbeResult | null;
}

/** What a probe may touch. */
export interface ProbePorts {
  readonly clock: Clock;
  readonly comfy: Comfy;
  readonly kernel: Kernel;
  readonly files: Files;
}

export type Outcome = Pick<ProbeResult, 'outcome' | 'reason'> & { readonly facts?: Readonly<Record<string, unknown>> };

/** What is known of the other probes of the same incarnation. */
export interface ProbeHistory {
  readonly latest: (probe: string) => ProbeResult | undefined;
  readonly everPassed: (probe: string) => boolean;
}

/**
 * One check. It records and never acts: only the planner restarts anything. A probe that throws is `unknown`; "fail" is
 * said only of what was really seen to be wrong.
 */
export interface Probe {
  readonly name: string;
  readonly layer: LayerName;
  /** Milliseconds until the next run, or null: not due (until another probe of this incarnation reports). */
  readonly dueIn: (history: ProbeHistory, config: Config) => number | null;
  readonly run: (target: ProbeTarget, ports: ProbePorts, signal: AbortSignal, history: ProbeHistory) => Promise<Outcome>;
}

export const pass = (facts?: Outcome['facts']): Outcome => ({ outcome: 'pass', reason: null, ...(facts === undefined ? {} : { facts }) });
export const fail = (reason: string, facts?: Outcome['facts']): Outcome => ({
  outcome: 'fail',
  reason,
  ...(facts === undefined ? {} : { facts }),
});
export const cannotTell = (reason: string): Outcome => ({ outcome: 'unknown', reason });

/** While an instance starts it is looked at more often, so that it is ready the moment it serves. */
export const STARTING_PERIOD_MS = 150;
