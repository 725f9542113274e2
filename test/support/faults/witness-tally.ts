/** Compares what was so with what was claimed. Pure bookkeeping, on the witness's own clock. */

export type WitnessOrder =
  | { readonly kind: 'watch'; readonly ports: readonly number[] }
  /** null: the agent is about to be killed, and nothing is expected of it. */
  | { readonly kind: 'agent'; readonly url: string | null }
  /** A fault was made now: health has so long to say so. */
  | { readonly kind: 'fault'; readonly gpu: number; readonly fault: string; readonly limitMs: number }
  /** It is of no use to anybody, whatever HTTP says; over with a limit of null. */
  | { readonly kind: 'useless'; readonly gpu: number; readonly fault: string; readonly limitMs: number | null }
  | { readonly kind: 'stop' };

export interface Sample {
  /** Monotonic ms. */
  readonly at: number;
  /** Its process runs and answers HTTP itself. */
  readonly serves: boolean;
  /** null: the agent did not answer. */
  readonly claim: { readonly ready: boolean; readonly status: string; readonly pid: number | null } | null;
  /** The agent was meant to answer. */
  readonly expected: boolean;
  readonly healthMs: number | null;
}

/** A stretch in which health was wrong. */
export interface Lie {
  readonly gpu: number;
  readonly kind: 'green' | 'red';
  readonly fault: string;
  readonly status: string;
  readonly fromMs: number;
  readonly ms: number;
}

export interface WitnessReport {
  readonly samples: number;
  /** Time in which an instance did not serve, over all instances. */
  readonly faultMs: number;
  /** Called ready though it did not serve, for longer than the limit of the fault. */
  readonly falseGreenMs: number;
  /** The same within the limits. */
  readonly greenWithinLimitsMs: number;
  /** Called not ready though it had been serving for longer than a start takes. */
  readonly falseRedMs: number;
  /** Called unknown meanwhile: neither fine nor failed. */
  readonly unknownMs: number;
  readonly lies: readonly Lie[];
  readonly health: {
    readonly requests: number;
    readonly errors: number;
    readonly p50Ms: number;
    readonly p99Ms: number;
    /** The slowest hundredth, each with the age of its agent: a young one has other things to do too. */
    readonly slow: readonly { readonly ms: number; readonly agentAgeMs: number }[];
  };
  /** How late the witness's own timers were: what a busy machine adds to every answer. */
  readonly lateP99Ms: number;
}

/** A fault that nobody announced: what follows from another one. */
const UNANNOUNCED_MS = 2_500;
/** From serving HTTP to ready: the canary, and the first looks of an agent that was just started. */
const RECOVERY_MS = 6_000;
const LONGEST_STEP_MS = 500;
/** The fault after which instances leave although they serve. */
export const HOST_LOST = 'pm2';

interface State {
  last: Sample | null;
  badSince: number | null;
  lastBad: number;
  pid: number | null;
  fault: string;
  limitMs: number;
  useless: boolean;
}

export interface Tally {
  /** The witness itself came so much too late: what the machine does to everybody. */
  late(ms: number): void;
  add(gpu: number, sample: Sample): void;
  fault(gpu: number, fault: string, limitMs: number): void;
  useless(gpu: number, fault: string, limitMs: number | null): void;
  agentChanged(): void;
  report(): WitnessReport;
}

export function createTally(now: () => number = () => performance.now()): Tally {
  const began = now();
  const states = new Map<number, State>();
  const sums = { samples: 0, faultMs: 0, falseGreenMs: 0, greenWithinLimitsMs: 0, falseRedMs: 0, unknownMs: 0, errors: 0 };
  const latencies: { readonly ms: number; readonly agentAgeMs: number }[] = [];
  const lateness: number[] = [];
  const lies: Lie[] = [];
  let agentSince = began;
  const stateOf = (gpu: number): State => {
    const found = states.get(gpu) ?? {
      last: null,
      badSince: null,
      lastBad: now(),
      pid: null,
      fault: 'unannounced',
      limitMs: UNANNOUNCED_MS,
      useless: false,
    };
    states.set(gpu, found);
    return found;
  };
  const lie = (gpu: number, kind: Lie['kind'], state: State, sample: Sample, ms: number): void => {
    const before = lies.at(-1);
    const status = sample.claim?.status ?? '';
    const from = sample.at - began;
    if (before !== undefined && before.gpu === gpu && before.kind === kind && from - (before.fromMs + before.ms) < 300)
      lies[lies.length - 1] = { ...before, ms: Math.round(from - before.fromMs + ms) };
    else lies.push({ gpu, kind, fault: state.fault, status, fromMs: Math.round(from), ms: Math.round(ms) });
  };
  return {
    late: (ms) => void lateness.push(Math.max(0, ms)),
    add: (gpu, sample) => {
      const state = stateOf(gpu);
      // Looks are side by side: one that came back late tells nothing new.
      if (state.last !== null && sample.at <= state.last.at) return;
      const ms = state.last === null ? 0 : Math.min(LONGEST_STEP_MS, sample.at - state.last.at);
      state.last = sample;
      sums.samples += 1;
      if (sample.healthMs !== null) latencies.push({ ms: sample.healthMs, agentAgeMs: Math.round(sample.at - agentSince) });
      else if (sample.expected) sums.errors += 1;
      const bad = !sample.serves || state.useless;
      if (bad) {
        state.badSince ??= sample.at;
        state.lastBad = sample.at;
        sums.faultMs += ms;
      } else {
        if (state.badSince !== null) {
          state.fault = 'unannounced';
          state.limitMs = UNANNOUNCED_MS;
        }
        state.badSince = null;
      }
      const { claim } = sample;
      if (claim === null) return;
      if (claim.pid !== state.pid) {
        state.pid = claim.pid;
        state.lastBad = sample.at;
      }
      if (bad && claim.ready) {
        const late = sample.at - (state.badSince ?? sample.at) > state.limitMs;
        sums[late ? 'falseGreenMs' : 'greenWithinLimitsMs'] += ms;
        if (late) lie(gpu, 'green', state, sample, ms);
      }
      // What a killed PM2 hosted serves on and takes no new work until it is replaced: health says so, and it is so.
      const leaves = state.fault === HOST_LOST && claim.status === 'draining';
      if (!bad && !leaves && !claim.ready && sample.at - Math.max(state.lastBad, agentSince) > RECOVERY_MS) {
        sums[claim.status === 'unknown' ? 'unknownMs' : 'falseRedMs'] += ms;
        if (claim.status !== 'unknown') lie(gpu, 'red', state, sample, ms);
      }
    },
    fault: (gpu, fault, limitMs) => {
      const state = stateOf(gpu);
      state.fault = fault;
      state.limitMs = limitMs;
      // From now on, also when it was in trouble before.
      if (state.badSince !== null) state.badSince = now();
    },
    useless: (gpu, fault, limitMs) => {
      const state = stateOf(gpu);
      state.useless = limitMs !== null;
      if (limitMs !== null) {
        state.fault = fault;
        state.limitMs = limitMs;
      }
    },
    agentChanged: () => {
      agentSince = now();
    },
    report: () => {
      const quantile = (values: number[], share: number): number => {
        const sorted = values.sort((a, b) => a - b);
        return Number((sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0).toFixed(2));
      };
      const round = (value: number): number => Math.round(value);
      const times = latencies.map(({ ms }) => ms);
      return {
        samples: sums.samples,
        faultMs: round(sums.faultMs),
        falseGreenMs: round(sums.falseGreenMs),
        greenWithinLimitsMs: round(sums.greenWithinLimitsMs),
        falseRedMs: round(sums.falseRedMs),
        unknownMs: round(sums.unknownMs),
        lies: lies.slice(0, 200),
        health: {
          requests: latencies.length,
          errors: sums.errors,
          p50Ms: quantile(times, 0.5),
          p99Ms: quantile(times, 0.99),
          slow: latencies.toSorted((a, b) => b.ms - a.ms).slice(0, Math.ceil(latencies.length / 100)),
        },
        lateP99Ms: quantile(lateness, 0.99),
      };
    },
  };
}
