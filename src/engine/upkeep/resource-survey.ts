import { incarnationKey } from '../../domain/instances/instance.ts';
import type { DiskFacts, InstanceLog, InstanceMemory, ResourceFacts } from '../../domain/upkeep/resources.ts';
import type { LogWatch, MemoryRoom } from '../../domain/upkeep/upkeep.ts';
import { instanceLogFile } from '../../plan/instances/launch.ts';
import { judgeDisk } from '../../plan/upkeep/resources.ts';
import { type Sample, slope, withSample } from '../../plan/upkeep/trend.ts';
import type { Ports } from '../../ports.ts';
import type { Knowledge } from '../knowledge.ts';
import { stateTroubles } from '../state/troubles.ts';

const PERIOD_MS = 5_000;
/** Growth is judged over the last ten minutes, and not before two are known. */
const TREND_MS = 600_000;
const LEAST_TREND_MS = 120_000;
/** A disk can fill within minutes. */
const DISK_TREND_MS = 120_000;
const LEAST_DISK_TREND_MS = 20_000;
const MEBIBYTE = 1024 * 1024;
const HOUR_MS = 3_600_000;
/** A flood is over when less than half of what is told comes. */
const FLOOD_ENDS_AT = 0.5;

interface Grown {
  readonly incarnation: string;
  readonly samples: readonly Sample[];
}

/** Looks at memory, logs and disks at its own pace, and keeps what growth is told from. */
export class ResourceSurvey {
  readonly #ports: Ports;
  readonly #knowledge: Knowledge;
  readonly #onNews: () => void;
  readonly #abort = new AbortController();
  readonly #grown = new Map<number, Grown>();
  readonly #disks = new Map<string, readonly Sample[]>();
  #logs: LogWatch | null = null;
  #loop: Promise<void> = Promise.resolve();

  constructor(ports: Ports, knowledge: Knowledge, onNews: () => void) {
    this.#ports = ports;
    this.#knowledge = knowledge;
    this.#onNews = onNews;
  }

  start(): void {
    this.#logs = this.#ports.upkeep.keepLogs(() => this.#bounds());
    this.#loop = this.#repeat();
  }

  async stop(): Promise<void> {
    this.#abort.abort();
    await this.#loop;
    await this.#logs?.close();
  }

  /** One look at everything. */
  async look(): Promise<void> {
    await Promise.all([this.#instances(), this.#machine(), this.#state()]);
  }

  /** Every log that somebody writes now. */
  #bounds() {
    const { configuration, desired, installProgress } = this.#knowledge;
    const { layout, config } = configuration;
    return {
      logs: [
        ...(desired?.instances ?? []).map(({ gpu }) => instanceLogFile(layout, gpu)),
        `${layout.logs}/pm2.log`,
        ...(installProgress === null ? [] : [installProgress.logFile]),
      ],
      maxBytes: config.log.maxFileMb * MEBIBYTE,
      keepFiles: config.log.keepFiles,
    };
  }

  async #instances(): Promise<void> {
    const { desired, instances: records } = this.#knowledge;
    const found = await Promise.all(
      (desired?.instances ?? []).map(async ({ gpu, name }): Promise<[number, ResourceFacts]> => {
        const memory = await this.#memory(gpu, name).catch(() => null);
        return [gpu, { memory, log: this.#log(gpu) }];
      }),
    );
    records.replace('resources', new Map(found));
  }

  async #memory(gpu: number, name: string): Promise<InstanceMemory | null> {
    const { observed, instances, configuration } = this.#knowledge;
    const { kernel, clock } = this.#ports;
    const seen = observed?.incarnations.get(name);
    if (seen?.known !== true || seen.value === null) {
      this.#grown.delete(gpu);
      return null;
    }
    const tree = await kernel.tree(seen.value.pid);
    // A process of the tree that ends meanwhile has none.
    const sizes = await Promise.all(tree.map((pid) => kernel.residentBytes(pid).catch(() => null)));
    const residentBytes = sizes.reduce<number>((sum, size) => sum + (size ?? 0), 0);
    if (residentBytes === 0) return null;
    const incarnation = incarnationKey(seen.value);
    const before = this.#grown.get(gpu);
    const isSame = before?.incarnation === incarnation;
    const samples = withSample(isSame ? before.samples : [], { at: clock.monotonic(), value: residentBytes }, TREND_MS);
    this.#grown.set(gpu, { incarnation, samples });
    const rate = slope(samples, LEAST_TREND_MS);
    const { budgetMb } = configuration.config.memory;
    const isOver = budgetMb !== null && residentBytes > budgetMb * MEBIBYTE;
    return {
      incarnation,
      residentBytes,
      processes: tree.length,
      overSince: isOver ? ((isSame ? instances.of(gpu).resources?.memory?.overSince : null) ?? clock.now()) : null,
      bytesPerHour: rate === null ? null : Math.round(rate * HOUR_MS),
    };
  }

  #log(gpu: number): InstanceLog | null {
    const { configuration, instances } = this.#knowledge;
    const path = instanceLogFile(configuration.layout, gpu);
    const growth = this.#logs?.growth(path) ?? null;
    if (growth === null) return null;
    const before = instances.of(gpu).resources?.log?.floodingSince ?? null;
    const limit = configuration.config.log.floodMbPerSecond * MEBIBYTE * (before === null ? 1 : FLOOD_ENDS_AT);
    return { path, ...growth, floodingSince: growth.bytesPerSecond > limit ? (before ?? this.#ports.clock.now()) : null };
  }

  async #state(): Promise<void> {
    this.#knowledge.stateTroubles = await stateTroubles(this.#ports, this.#knowledge.configuration.layout);
  }

  async #machine(): Promise<void> {
    const { upkeep, clock } = this.#ports;
    const [disks, memory] = await Promise.all([this.#lookAtDisks(), upkeep.memory().catch((): MemoryRoom | null => null)]);
    const { machineResources: before, configuration } = this.#knowledge;
    const isLow = memory !== null && memory.availableBytes < configuration.config.memory.minAvailableMb * MEBIBYTE;
    this.#knowledge.machineResources = {
      ...before,
      disks,
      memory,
      memoryLowSince: isLow ? (before.memoryLowSince ?? clock.now()) : null,
    };
  }

  async #lookAtDisks(): Promise<readonly DiskFacts[]> {
    const { upkeep, clock } = this.#ports;
    const { layout, config } = this.#knowledge.configuration;
    const places: readonly (readonly [string, string])[] = [
      ['root', layout.root],
      ['outputs', layout.outputs],
      ['temp', layout.instances],
      ['cache', layout.cache],
      ['state', layout.state],
    ];
    const spaces = await Promise.all(places.map(async ([name, path]) => ({ name, path, space: await upkeep.space(path) })));
    const disks: DiskFacts[] = [];
    for (const { name, path, space } of spaces) {
      if (space === null) continue;
      const index = disks.findIndex((disk) => disk.space.device === space.device);
      const same = disks[index];
      if (same !== undefined) {
        disks[index] = { ...same, holds: [...same.holds, name] };
        continue;
      }
      const samples = withSample(this.#disks.get(space.device) ?? [], { at: clock.monotonic(), value: -space.freeBytes }, DISK_TREND_MS);
      this.#disks.set(space.device, samples);
      const rate = slope(samples, LEAST_DISK_TREND_MS);
      const facts = { holds: [name], path, space, bytesPerSecond: rate === null ? null : Math.round(rate * 1_000) };
      const before = this.#knowledge.machineResources.disks.find((disk) => disk.space.device === space.device)?.lowSince ?? null;
      disks.push({ ...facts, lowSince: judgeDisk(facts, config).state === 'fine' ? null : (before ?? clock.now()) });
    }
    return disks;
  }

  async #repeat(): Promise<void> {
    const { signal } = this.#abort;
    while (!signal.aborted) {
      await this.look();
      if (signal.aborted) return;
      this.#onNews();
      await this.#ports.clock.sleep(PERIOD_MS, signal).catch(() => undefined);
    }
  }
}
