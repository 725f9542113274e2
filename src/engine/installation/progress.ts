import { asAgentError } from '../../domain/errors/errors.ts';
import type { LockChange } from '../../domain/installation/lock.ts';
import {
  type InstallProgress,
  type InstallStep,
  type InstallStepName,
  type PackSpec,
  type PackStatus,
  InstallStepName as StepNames,
} from '../../domain/installation/release.ts';
import { toTime } from '../../domain/observed.ts';
import type { Clock } from '../../ports/clock.ts';

/** Share of each step in a typical installation, for the bar; measured on cold caches with a few packs. */
const WEIGHTS: Readonly<Record<InstallStepName, number>> = {
  prepare: 1,
  source: 10,
  packs: 15,
  resolve: 8,
  environment: 42,
  'pack-setup': 8,
  links: 1,
  validate: 14,
  activate: 1,
  rollout: 10,
};
const TOTAL = Object.values(WEIGHTS).reduce((sum, weight) => sum + weight, 0);

/** Output lines come by the thousand; people and sockets need a few a second. */
const ACTIVITY_PERIOD_MS = 150;

/** Keeps the progress document of one installation and its log. */
export class InstallTracker {
  readonly #clock: Clock;
  readonly #onChange: (progress: InstallProgress) => void;
  readonly #writeLog: (line: string) => void;
  readonly #began: number;
  #document: InstallProgress;
  #stepBegan = 0;
  #fraction = 0;
  #lastActivity = Number.NEGATIVE_INFINITY;
  readonly durations: Record<string, number> = {};
  readonly warnings: string[] = [];

  constructor(options: {
    readonly clock: Clock;
    readonly releaseId: string;
    readonly logFile: string;
    readonly packs: readonly PackSpec[];
    readonly onChange: (progress: InstallProgress) => void;
    readonly writeLog: (line: string) => void;
  }) {
    this.#clock = options.clock;
    this.#onChange = options.onChange;
    this.#writeLog = options.writeLog;
    this.#began = options.clock.monotonic();
    this.#document = {
      releaseId: options.releaseId,
      step: 'prepare',
      steps: StepNames.options.map((name) => ({
        name,
        state: 'pending',
        startedAt: null,
        durationMs: null,
        bytes: 0,
        cache: null,
        detail: null,
      })),
      progress: 0,
      bytes: 0,
      etaMs: null,
      packs: options.packs.map((pack) => ({
        name: pack.name,
        state: 'pending',
        url: pack.url,
        commit: null,
        source: null,
        error: null,
        quarantined: false,
        warnings: [],
        generated: [],
        altered: [],
      })),
      difference: null,
      activity: null,
      lastError: null,
      logFile: options.logFile,
    };
  }

  get progress(): InstallProgress {
    return this.#document;
  }

  /** Runs one step: its beginning, end, duration and failure are told to everybody. */
  async step<T>(name: InstallStepName, work: () => Promise<T>): Promise<T> {
    this.#stepBegan = this.#clock.monotonic();
    this.#fraction = 0;
    this.log(`== ${name}`);
    this.#set({ step: name, steps: this.#withStep(name, { state: 'running', startedAt: toTime(this.#clock.now()) }), activity: null });
    try {
      const result = await work();
      this.#endStep(name, 'done');
      return result;
    } catch (thrown) {
      const { code, message, help } = asAgentError(thrown);
      this.log(`error[${code}]: ${message}`);
      this.#endStep(name, 'failed', { lastError: { code, message, help } });
      throw thrown;
    }
  }

  /** A step that the configuration leaves out. @returns what stands for its result */
  skip<T>(name: InstallStepName, instead: T): T {
    this.#set({ steps: this.#withStep(name, { state: 'skipped' }) });
    return instead;
  }

  /** 0..1 within the present step. */
  fraction(value: number): void {
    this.#fraction = Math.min(1, Math.max(this.#fraction, value));
    this.#set({});
  }

  /** What the present step is doing, in words; stays after the step. */
  detail(text: string): void {
    this.log(text);
    this.#set({ steps: this.#withStep(this.#document.step, { detail: text }), activity: text });
  }

  /** What the new release changes, told before anything is installed. */
  difference(changes: readonly LockChange[]): void {
    for (const { part, name, change, before, after } of changes)
      this.log(`${change} ${part} ${name}: ${[before, after].filter((each) => each !== null).join(' -> ')}`);
    this.#set({ difference: [...changes] });
  }

  bytes(received: number): void {
    const { step, steps } = this.#document;
    const counted = steps.map((each) => (each.name === step ? { ...each, bytes: each.bytes + received } : each));
    this.#document = { ...this.#document, bytes: this.#document.bytes + received, steps: counted };
  }

  /** Of what the present step needed, so much lay in the caches. */
  cache(hits: number, total: number): void {
    const { step, steps } = this.#document;
    const before = steps.find((each) => each.name === step)?.cache ?? { hits: 0, total: 0 };
    this.#set({ steps: this.#withStep(step, { cache: { hits: before.hits + hits, total: before.total + total } }) });
  }

  warn(text: string): void {
    this.log(`warning: ${text}`);
    this.warnings.push(text);
  }

  pack(name: string, change: Partial<PackStatus>): void {
    if (change.state === 'failed') this.log(`pack ${name} failed: ${change.error ?? ''}`);
    this.#set({ packs: this.#document.packs.map((pack) => (pack.name === name ? { ...pack, ...change } : pack)) });
  }

  packWarning(name: string, text: string): void {
    this.log(`pack ${name}: ${text}`);
    const pack = this.#document.packs.find((candidate) => candidate.name === name);
    if (pack !== undefined) this.pack(name, { warnings: [...pack.warnings, text] });
  }

  /** A line of a tool's output. */
  line(text: string): void {
    this.#writeLog(text);
    const now = this.#clock.monotonic();
    if (now - this.#lastActivity < ACTIVITY_PERIOD_MS) return;
    this.#lastActivity = now;
    this.#set({ activity: text.slice(0, 300) });
  }

  log(line: string): void {
    this.#writeLog(line);
  }

  #endStep(name: InstallStepName, state: 'done' | 'failed', more: Partial<InstallProgress> = {}): void {
    const durationMs = Math.round(this.#clock.monotonic() - this.#stepBegan);
    this.durations[name] = durationMs;
    this.#fraction = state === 'done' ? 1 : this.#fraction;
    const steps = this.#withStep(name, { state, durationMs });
    for (const step of steps) if (step.name === name) this.log(`== ${stepResult(step)}`);
    this.#set({ ...more, steps });
  }

  #withStep(name: InstallStepName, change: Partial<InstallProgress['steps'][number]>): InstallProgress['steps'] {
    return this.#document.steps.map((step) => (step.name === name ? { ...step, ...change } : step));
  }

  #set(change: Partial<InstallProgress>): void {
    const merged = { ...this.#document, ...change };
    const done = merged.steps
      .filter((step) => step.state === 'done' || step.state === 'skipped')
      .reduce((sum, step) => sum + WEIGHTS[step.name], 0);
    const running = merged.steps.find((step) => step.state === 'running');
    const reached = (done + (running === undefined ? 0 : WEIGHTS[running.name] * this.#fraction)) / TOTAL;
    // A step that fails takes nothing back.
    const progress = Math.min(1, Math.max(merged.progress, reached));
    const elapsed = this.#clock.monotonic() - this.#began;
    // A guess is worth showing only after some way.
    const etaMs = progress > 0.05 && progress < 1 ? Math.round((elapsed / progress) * (1 - progress)) : null;
    this.#document = { ...merged, progress, etaMs };
    this.#onChange(this.#document);
  }
}

/** How a step ended, for the log and the journal: "packs done after 3.2 s, 1048576 bytes received, 58 of 60 from the cache". */
export const stepResult = ({ name, state, durationMs, bytes, cache }: InstallStep): string =>
  `${name} ${state} after ${((durationMs ?? 0) / 1_000).toFixed(1)} s${bytes === 0 ? '' : `, ${bytes} bytes received`}${
    cache === null ? '' : `, ${cache.hits} of ${cache.total} from the cache`
  }`;
