import type { ModelStatus } from '../domain/health/health.ts';
import { known } from '../domain/observed.ts';
import { driverTrouble } from '../plan/faults/driver-gone.ts';
import type { Ports } from '../ports.ts';
import { ask } from './ask.ts';
import type { CardSlots } from './cards/slots.ts';
import { CardWatch } from './cards/watch.ts';
import type { Knowledge, RequiredModel } from './knowledge.ts';

/** How often what is slow to ask is asked. */
const PERIODS_MS = { machine: 60_000, models: 30_000 } as const;

/** Looks at cards, machine and models at their own pace, each one look at a time, and tells when something was learnt. */
export class Surveys {
  readonly #ports: Ports;
  readonly #knowledge: Knowledge;
  readonly #onNews: () => void;
  readonly #slots: CardSlots;
  readonly #cards: CardWatch;
  readonly #abort = new AbortController();
  readonly #digests = new Map<string, string>();
  #loops: readonly Promise<void>[] = [];

  constructor(ports: Ports, knowledge: Knowledge, slots: CardSlots, onNews: () => void) {
    this.#ports = ports;
    this.#knowledge = knowledge;
    this.#slots = slots;
    this.#onNews = onNews;
    this.#cards = new CardWatch(ports, knowledge, { onNews, read: () => this.gpus() });
  }

  start(): void {
    this.#loops = [
      this.#cards.follow(this.#abort.signal),
      this.#repeat(
        () => this.#knowledge.configuration.config.gpu.periodMs,
        () => this.gpus(),
      ),
      this.#repeat(
        () => PERIODS_MS.machine,
        () => this.machine(),
      ),
      this.#repeat(
        () => PERIODS_MS.models,
        () => this.models(),
      ),
    ];
  }

  async stop(): Promise<void> {
    this.#abort.abort();
    await Promise.allSettled(this.#loops);
  }

  /** One reading of the cards; also before each installation. */
  async gpus(): Promise<void> {
    const knowledge = this.#knowledge;
    if (knowledge.configuration.config.gpu.mode !== 'actual') {
      knowledge.gpus = known({ present: false, gpus: [] });
      knowledge.cards = knowledge.gpus;
      return;
    }
    const askedAt = this.#ports.clock.now();
    const reading = await ask(() => this.#ports.hardware.gpus(knowledge.roster));
    knowledge.gpusAskedAt = askedAt;
    knowledge.gpus = reading;
    if (driverTrouble(reading, knowledge.cards) !== null) {
      knowledge.driverGoneSince ??= askedAt;
    } else {
      knowledge.driverGoneSince = null;
      if (reading.known) await this.#slots.take(reading.value);
    }
    await this.#cards.look();
    await this.#cpuLists();
  }

  /** Known before the first launch, and kept: an instance must not be restarted because the driver is silent. */
  async #cpuLists(): Promise<void> {
    const { configuration, cards, cpuLists } = this.#knowledge;
    if (configuration.config.instances.cpuAffinity !== 'auto' || !cards.known) return;
    for (const { uuid } of cards.value.gpus) {
      if (cpuLists.has(uuid)) continue;
      const cpus = await this.#ports.upkeep.localCpus(uuid).catch(() => null);
      cpuLists.set(uuid, cpus);
    }
  }

  async machine(): Promise<void> {
    this.#knowledge.machine = await ask(() => this.#ports.hardware.machine(this.#knowledge.configuration.layout.root));
  }

  async models(): Promise<void> {
    const { models } = this.#knowledge.inputs;
    this.#knowledge.models = await ask(() => Promise.all(models.map((model) => this.#model(model))));
    this.#knowledge.modelsCheckedAt = this.#ports.clock.now();
  }

  async #model(model: RequiredModel): Promise<ModelStatus> {
    const { files } = this.#ports;
    const absolute = (path: string): string => (path.startsWith('/') ? path : `${this.#knowledge.configuration.layout.models}/${path}`);
    const base = { path: model.path, requiredBy: [...model.requiredBy] };
    try {
      const places = [model.path, ...model.places].map(absolute);
      const sizes = await Promise.all(places.map((place) => files.size(place)));
      const index = sizes.findIndex((size) => size !== null);
      const path = places[index];
      const sizeBytes = sizes[index] ?? null;
      if (path === undefined || sizeBytes === null)
        return { ...base, state: 'missing', sizeBytes: null, reason: `${absolute(model.path)} does not exist` };
      if (model.sizeBytes !== null && sizeBytes !== model.sizeBytes) {
        return { ...base, state: 'corrupt', sizeBytes, reason: `it has ${sizeBytes} bytes, ${model.sizeBytes} are expected` };
      }
      if (sizeBytes === 0) return { ...base, state: 'corrupt', sizeBytes, reason: 'it is empty' };
      if (model.sha256 !== null && (await this.#digest(path, sizeBytes)) !== model.sha256.toLowerCase()) {
        return { ...base, state: 'corrupt', sizeBytes, reason: 'its sha256 is not the expected one' };
      }
      return { ...base, state: 'present', sizeBytes, reason: null };
    } catch (error) {
      return { ...base, state: 'unknown', sizeBytes: null, reason: error instanceof Error ? error.message : String(error) };
    }
  }

  /** Hashing gigabytes is done once for each size and time of change. */
  async #digest(path: string, sizeBytes: number): Promise<string> {
    const key = `${path}\0${sizeBytes}\0${await this.#ports.files.modifiedAt(path)}`;
    const before = this.#digests.get(key);
    if (before !== undefined) return before;
    const digest = await this.#ports.files.digest(path, this.#abort.signal);
    this.#digests.set(key, digest);
    return digest;
  }

  async #repeat(periodMs: () => number, look: () => Promise<void>): Promise<void> {
    const { signal } = this.#abort;
    while (!signal.aborted) {
      await look();
      if (signal.aborted) return;
      this.#onNews();
      await this.#ports.clock.sleep(periodMs(), signal).catch(() => undefined);
    }
  }
}
