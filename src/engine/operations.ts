import { AgentError, asAgentError } from '../domain/errors/errors.ts';
import type { InstallProgress } from '../domain/installation/release.ts';
import { toTime } from '../domain/observed.ts';
import type { OperationDocument, OperationKind } from '../domain/operation.ts';
import type { CleanupDocument } from '../domain/upkeep/cleanup.ts';
import type { Clock } from '../ports/clock.ts';
import { Broadcast } from './broadcast.ts';

const KEPT = 50;

/** What a running operation is told, and may say of itself. */
export interface OperationHandle {
  readonly signal: AbortSignal;
  /** Those of its subjects that something later took over, and what that was. The last one to go aborts the signal. */
  readonly superseded: ReadonlyMap<string, string>;
  update(change: { message?: string; progress?: number | null; install?: InstallProgress; cleanup?: CleanupDocument }): void;
}

interface Entry {
  document: OperationDocument;
  readonly changes: Broadcast<OperationDocument>;
  readonly abort: AbortController;
  /** What it works on: the target, or each of several instances. */
  readonly subjects: ReadonlySet<string>;
  readonly superseded: Map<string, string>;
  readonly finished: Promise<void>;
}

/** Long work in flight: one at a time for each target; asking again gives the one that runs, asking otherwise replaces it. */
export class Operations {
  readonly #entries = new Map<string, Entry>();
  readonly #clock: Clock;
  readonly #onChange: (document: OperationDocument) => void;
  #next = 1;
  #stopping = false;

  constructor(clock: Clock, onChange: (document: OperationDocument) => void) {
    this.#clock = clock;
    this.#onChange = onChange;
  }

  /**
   * `run` resolves with the closing message, or rejects with the reason of the failure. A later operation of another kind
   * takes over what both are about.
   * @param subjects what `target` stands for, when that is several things
   * @throws AgentError INTERRUPTED once the agent is stopping
   */
  start(
    kind: OperationKind,
    target: string,
    message: string,
    run: (handle: OperationHandle) => Promise<string>,
    subjects: readonly string[] = [target],
  ): OperationDocument {
    const running = this.running(target);
    // An installation is never cut by another.
    if (running !== null && (running.kind === kind || target === 'installation')) return running;
    if (this.#stopping) throw new AgentError('INTERRUPTED', 'the agent is stopping');
    const id = `${kind}-${this.#clock.now().toString(36)}-${this.#next++}`;
    this.supersede(subjects, `${id} (${kind} ${target})`, (other) => other !== kind);
    const abort = new AbortController();
    const superseded = new Map<string, string>();
    const document: OperationDocument = {
      id,
      kind,
      target,
      state: 'running',
      startedAt: toTime(this.#clock.now()),
      finishedAt: null,
      message,
      progress: null,
      install: null,
      error: null,
    };
    const update = (change: Partial<OperationDocument>) => {
      entry.document = { ...entry.document, ...change };
      entry.changes.publish(entry.document);
      this.#onChange(entry.document);
    };
    /** What says nothing new wakes nobody: whoever follows the documents and reports here would wake itself without end. */
    const report = (change: Partial<OperationDocument>) => {
      const { document } = entry;
      if ((Object.keys(change) as (keyof OperationDocument)[]).some((key) => change[key] !== document[key])) update(change);
    };
    const finish = (change: Partial<OperationDocument>) => {
      update({ ...change, finishedAt: toTime(this.#clock.now()) });
      entry.changes.close();
      this.#forgetOldest();
    };
    const entry: Entry = {
      document,
      changes: new Broadcast(),
      abort,
      subjects: new Set(subjects),
      superseded,
      finished: Promise.resolve()
        .then(() => {
          abort.signal.throwIfAborted();
          return run({ signal: abort.signal, superseded, update: report });
        })
        .then(
          (closing) => finish({ state: 'succeeded', message: closing, progress: 1 }),
          (thrown: unknown) => {
            const { code, message: reason, help, retryable, details } = asAgentError(thrown);
            finish({
              state: abort.signal.aborted ? 'cancelled' : 'failed',
              message: reason,
              error: { code, message: reason, help, retryable, ...(Object.keys(details).length === 0 ? {} : { details: { ...details } }) },
            });
          },
        ),
    };
    this.#entries.set(id, entry);
    this.#onChange(document);
    return document;
  }

  /** What runs on one of the subjects, if it is of such a kind, goes on with the others, and ends at once when there are none. */
  supersede(subjects: readonly string[], by: string, affects: (kind: OperationKind) => boolean): void {
    for (const entry of this.#entries.values()) {
      if (entry.document.state !== 'running' || !affects(entry.document.kind)) continue;
      const taken = subjects.filter((subject) => entry.subjects.has(subject));
      for (const subject of taken) entry.superseded.set(subject, by);
      if (taken.length > 0 && entry.superseded.size === entry.subjects.size)
        entry.abort.abort(new AgentError('SUPERSEDED', `${entry.document.kind} ${entry.document.target} was superseded by ${by}`));
    }
  }

  running(target: string): OperationDocument | null {
    for (const entry of this.#entries.values()) {
      if (entry.document.target === target && entry.document.state === 'running') return entry.document;
    }
    return null;
  }

  list(): readonly OperationDocument[] {
    return [...this.#entries.values()].map((entry) => entry.document).reverse();
  }

  /** @throws AgentError OPERATION_NOT_FOUND */
  get(id: string): OperationDocument {
    return this.#entry(id).document;
  }

  async *follow(id: string, signal: AbortSignal): AsyncIterable<OperationDocument> {
    const entry = this.#entry(id);
    const changes = entry.changes.subscribe(signal);
    try {
      let last = entry.document;
      yield last;
      for await (const document of changes) {
        last = document;
        yield last;
      }
      // A reader that was too slow still learns the end.
      if (last.state !== 'running') return;
      await Promise.race([entry.finished, aborted(signal)]);
      if (!signal.aborted) yield entry.document;
    } finally {
      changes.leave();
    }
  }

  /** Ends what runs, and lets nothing more begin. */
  async stop(): Promise<void> {
    this.#stopping = true;
    const running = [...this.#entries.values()].filter((entry) => entry.document.state === 'running');
    for (const entry of running) entry.abort.abort(new AgentError('INTERRUPTED', 'the agent is stopping'));
    await Promise.allSettled(running.map((entry) => entry.finished));
  }

  #entry(id: string): Entry {
    const entry = this.#entries.get(id);
    if (entry === undefined) throw new AgentError('OPERATION_NOT_FOUND', `there is no operation ${id}`);
    return entry;
  }

  #forgetOldest(): void {
    for (const [id, entry] of this.#entries) {
      if (this.#entries.size <= KEPT) return;
      if (entry.document.state !== 'running') this.#entries.delete(id);
    }
  }
}

const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
