import type { StatusDocument } from '../../domain/agent.ts';
import type { Layout } from '../../domain/configuration/config.ts';
import type { Logger } from '../../ports/logs.ts';
import type { Ports } from '../../ports.ts';

const PAUSE_MS = 1_000;

/** Keeps state/status.json for `agent status` while no agent runs: at most one write a second, the newest state always. */
export class LastStatus {
  readonly #ports: Pick<Ports, 'files' | 'clock'>;
  readonly #path: string;
  readonly #log: Logger;
  readonly #abort = new AbortController();
  #newest: (() => StatusDocument) | null = null;
  #saved = '';
  #writing: Promise<void> | null = null;

  constructor(ports: Pick<Ports, 'files' | 'clock'>, layout: Layout, log: Logger) {
    this.#ports = ports;
    this.#path = lastStatusFile(layout);
    this.#log = log;
  }

  /** `key` tells states apart that are worth a write: times and counters alone are not. */
  save(key: string, status: () => StatusDocument): void {
    if (key === this.#saved) return;
    this.#saved = key;
    this.#newest = status;
    this.#writing ??= this.#write();
  }

  async close(): Promise<void> {
    this.#abort.abort();
    await this.#writing;
  }

  async #write(): Promise<void> {
    while (this.#newest !== null) {
      const status = this.#newest;
      this.#newest = null;
      try {
        await this.#ports.files.writeText(this.#path, `${JSON.stringify(status())}\n`, 0o600);
      } catch (error) {
        this.#log.warn({ cause: String(error) }, 'the last status cannot be written');
      }
      await this.#ports.clock.sleep(PAUSE_MS, this.#abort.signal).catch(() => undefined);
    }
    this.#writing = null;
  }
}

export const lastStatusFile = (layout: Layout): string => `${layout.state}/status.json`;
