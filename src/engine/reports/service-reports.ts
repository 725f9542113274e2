import type { Documents } from '../../domain/health/documents.ts';
import { serviceStatus } from '../../plan/reports/service-status.ts';
import type { Clock } from '../../ports/clock.ts';
import type { ServiceManager } from '../../ports/host.ts';

/** Each telling is a process of its own, and progress moves many times a second. */
const STATUS_PERIOD_MS = 1_000;

export interface ServiceReportsOptions {
  readonly manager: ServiceManager;
  readonly clock: Pick<Clock, 'sleep'>;
  readonly documents: () => Documents;
  /** The present state, then whenever something changed. */
  readonly changes: (signal: AbortSignal) => AsyncIterable<unknown>;
}

/**
 * Tells the service manager how the agent is, from the moment it serves health until it stops: ready, the status line as it
 * changes, and signs of life at half the period that is asked for. Signs of life come from the event loop itself: while that
 * does not turn there are none, and the service manager starts the agent anew.
 */
export class ServiceReports {
  readonly #options: ServiceReportsOptions;
  readonly #end = new AbortController();
  #told = '';
  #work: Promise<unknown> = Promise.resolve();

  constructor(options: ServiceReportsOptions) {
    this.#options = options;
  }

  /** Health is served from now on. */
  async start(): Promise<void> {
    const { manager } = this.#options;
    this.#work = Promise.all([this.#live(), this.#follow()]);
    await manager.notify({ phase: 'ready', status: this.#status() });
  }

  /** The configuration is being read again, by `work`. */
  async reload(work: () => Promise<void>): Promise<void> {
    const { manager } = this.#options;
    await manager.notify({ phase: 'reloading' });
    try {
      await work();
    } finally {
      // Systemd ends a service that is never ready again.
      await manager.notify({ phase: 'ready', status: this.#status() });
    }
  }

  /** The agent is to end. */
  async stopping(): Promise<void> {
    await this.#options.manager.notify({ phase: 'stopping', status: 'stopping' });
  }

  /** The last word: signs of life go on until here, since stopping takes as long as jobs do. */
  async close(): Promise<void> {
    this.#end.abort();
    await this.#work;
  }

  #status(): string {
    const { installation, instances, configuration } = this.#options.documents();
    this.#told = serviceStatus(installation, instances, configuration);
    return this.#told;
  }

  async #live(): Promise<void> {
    const { manager } = this.#options;
    const { watchdogMs } = manager;
    if (watchdogMs === null) return;
    while (await this.#pause(watchdogMs / 2)) void manager.notify({ alive: true });
  }

  async #follow(): Promise<void> {
    const { manager, changes } = this.#options;
    for await (const _ of changes(this.#end.signal)) {
      const before = this.#told;
      const status = this.#status();
      if (status === before) continue;
      await manager.notify({ status });
      if (!(await this.#pause(STATUS_PERIOD_MS))) return;
    }
  }

  /** False: it is over. */
  async #pause(ms: number): Promise<boolean> {
    await this.#options.clock.sleep(ms, this.#end.signal).catch(() => undefined);
    return !this.#end.signal.aborted;
  }
}
