import type { Files } from '../../ports/files.ts';
import type { Logger } from '../../ports/logs.ts';
import type { Journal } from '../journal.ts';
import type { Knowledge } from '../knowledge.ts';
import type { ConfigurationSource } from './configuration.ts';

/** What an edit changes. */
interface Engine {
  readonly knowledge: Knowledge;
  readonly journal: Journal;
  readonly reconciler: { trigger(): Promise<void> };
  readonly refreshInputs: () => Promise<void>;
  readonly beforeInstallation: (read: () => Promise<void>) => void;
}

export interface LiveConfigurationOptions {
  readonly source: ConfigurationSource;
  readonly core: Engine;
  readonly files: Pick<Files, 'watch'>;
  readonly log: Logger;
}

/** The operator's files as they are edited: read again one edit after the other, and watched wherever the configuration puts them. */
export class LiveConfiguration {
  readonly #options: LiveConfigurationOptions;
  #watched: readonly string[] = [];
  #watch: { close(): Promise<void> } | null = null;
  #turn: Promise<void> = Promise.resolve();
  #isClosed = false;

  constructor(options: LiveConfigurationOptions) {
    this.#options = options;
  }

  start(): Promise<void> {
    this.#options.core.beforeInstallation(() => this.#read());
    return this.#watchFiles();
  }

  /** A file of the operator changed. A bad edit keeps what was, and is told in status and health. */
  async reload(): Promise<void> {
    const { core, log } = this.#options;
    try {
      await this.#read();
      // Not part of the turn: a shared repository may take long, and the next edit need not wait for it.
      await core.refreshInputs();
    } catch (error) {
      log.error({ cause: reasonOf(error) }, 'the files of the operator cannot be read again');
    }
    await core.reconciler.trigger();
  }

  #read(): Promise<void> {
    this.#turn = this.#turn.then(() => this.#readConfiguration());
    return this.#turn;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#watch?.close();
  }

  async #readConfiguration(): Promise<void> {
    const { source, core, log } = this.#options;
    const { knowledge, journal } = core;
    if (this.#isClosed) return;
    const before = knowledge.configuration;
    // What cannot be read is told by what it gives.
    knowledge.configuration = await source.reload(before);
    const { problem, generation } = knowledge.configuration;
    if (problem !== null && problem !== before.problem)
      journal.record({ type: 'configuration.rejected', target: 'agent', level: 'error', message: problem, data: {} });
    else if (generation !== before.generation)
      journal.record({
        type: 'configuration.changed',
        target: 'agent',
        level: 'info',
        message: `configuration ${generation} is in force`,
        data: { generation },
      });
    await this.#watchFiles().catch((error: unknown) =>
      log.error({ cause: reasonOf(error) }, 'the files of the operator cannot be watched'),
    );
  }

  /** Before the files are read, so that no edit falls in between; the old watch goes when the new one sees. */
  async #watchFiles(): Promise<void> {
    const { source, core, files } = this.#options;
    const wanted = source.watched(core.knowledge.configuration);
    if (this.#watch !== null && wanted.join('\0') === this.#watched.join('\0')) return;
    const before = this.#watch;
    this.#watch = await files.watch(wanted, () => void this.reload());
    this.#watched = wanted;
    await before?.close();
    if (this.#isClosed) await this.#watch.close();
  }
}

const reasonOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
