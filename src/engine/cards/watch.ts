import type { CardFacts, CardProcess } from '../../domain/cards/card.ts';
import { type GpuReading, unreachableWords } from '../../domain/cards/gpu.ts';
import type { KernelMessage } from '../../domain/cards/kernel-message.ts';
import { parseXid, XID_WORDS, type XidEvent } from '../../domain/cards/xid.ts';
import { asAgentError } from '../../domain/errors/errors.ts';
import { type DesiredInstance, type Incarnation, incarnationKey, probeHost } from '../../domain/instances/instance.ts';
import { known, NOT_LOOKED_YET, type Observed, unknown } from '../../domain/observed.ts';
import { datedConditions } from '../../plan/cards/conditions.ts';
import { launchDigest } from '../../plan/instances/launch.ts';
import type { Ports } from '../../ports.ts';
import { ask } from '../ask.ts';
import type { Knowledge } from '../knowledge.ts';

const XIDS_KEPT = 50;
/** Cards whose Xids are kept: far more than a machine has, should the log be full of addresses. */
const CARDS_KEPT = 64;
/** Until a kernel log that could not be read is tried again. */
const AGAIN_MS = 60_000;

const STATS_TIMEOUT_MS = 1_000;

export interface CardWatchOptions {
  readonly onNews: () => void;
  /** Asks the driver now. */
  readonly read: () => Promise<void>;
}

/** Gathers what the cards of the instances are judged by: the newest reading, the kernel log, and what their processes see. */
export class CardWatch {
  readonly #ports: Ports;
  readonly #knowledge: Knowledge;
  readonly #options: CardWatchOptions;
  /** Starts in a row that saw other devices than they should, by GPU. */
  readonly #wrong = new Map<number, { readonly incarnation: string; readonly count: number }>();
  /** What each process named as its card, by GPU. */
  readonly #devices = new Map<number, { readonly incarnation: string; readonly name: string | null }>();
  #reading: Promise<void> | null = null;

  constructor(ports: Ports, knowledge: Knowledge, options: CardWatchOptions) {
    this.#ports = ports;
    this.#knowledge = knowledge;
    this.#options = options;
  }

  /** Follows the kernel log until the abort; one that cannot be read is tried again. Never rejects. */
  async follow(signal: AbortSignal): Promise<void> {
    const { clock, kernelLog } = this.#ports;
    const knowledge = this.#knowledge;
    while (!signal.aborted) {
      // On CPU instances no card can fail.
      if (knowledge.configuration.config.gpu.mode === 'actual') {
        // A new look at the log starts with what it still holds.
        knowledge.xids.clear();
        knowledge.xidTotals.clear();
        knowledge.kernelLog = known(null);
        try {
          await kernelLog.follow(XID_WORDS, (message) => this.#onMessage(message), signal);
        } catch (error) {
          knowledge.kernelLog = unknown(asAgentError(error).message);
        }
      }
      if (!signal.aborted) await clock.sleep(AGAIN_MS, signal).catch(() => undefined);
    }
  }

  #onMessage({ at, text }: KernelMessage): void {
    const xid = parseXid(text, at);
    const { xids, xidTotals } = this.#knowledge;
    if (xid === null || (!xids.has(xid.pciBusId) && xids.size >= CARDS_KEPT)) return;
    xids.set(xid.pciBusId, [...(xids.get(xid.pciBusId) ?? []), xid].slice(-XIDS_KEPT));
    const key = `${xid.pciBusId} ${xid.code}`;
    xidTotals.set(key, (xidTotals.get(key) ?? 0) + 1);
    // What the driver says since is heard at once; many lines are one question.
    this.#reading ??= this.#options.read().finally(() => {
      this.#reading = null;
      this.#options.onNews();
    });
  }

  /** Makes the facts of all cards anew; after each reading. */
  async look(): Promise<void> {
    const { desired, instances: records } = this.#knowledge;
    const instances = (desired?.instances ?? []).filter(({ mode, uuid }) => mode === 'gpu' && uuid !== null);
    const facts = await Promise.all(instances.map((instance) => this.#factsOf(instance)));
    records.replace('card', new Map(instances.flatMap(({ gpu }, index) => (facts[index] === undefined ? [] : [[gpu, facts[index]]]))));
  }

  async #factsOf(instance: DesiredInstance): Promise<CardFacts> {
    const { gpus, cards, gpusAskedAt, instances, configuration } = this.#knowledge;
    const { card: before, freed } = instances.of(instance.gpu);
    const uuid = instance.uuid ?? '';
    const card = cards.known ? cards.value.gpus.find((candidate) => candidate.uuid === uuid) : undefined;
    const pciBusId = card?.pciBusId ?? before?.pciBusId ?? null;
    const base: Omit<CardFacts, 'since'> = {
      uuid,
      pciBusId,
      gpu: listedCard(gpus, uuid),
      askedAt: gpusAskedAt,
      words: gpus.known ? unreachableWords(gpus.value, { uuid, pciBusId }) : null,
      xids: [],
      process: await this.#processOf(instance),
      freedAt: freed?.at ?? null,
    };
    const since = before?.uuid === uuid ? before.since : {};
    return { ...base, since: datedConditions(base, since, configuration.config) };
  }

  /** ComfyUI names its card once for each process: the question touches the driver, which may hang later. */
  async #deviceOf(instance: DesiredInstance, incarnation: string): Promise<string | null> {
    const { instances, leases, configuration } = this.#knowledge;
    const before = this.#devices.get(instance.gpu);
    if (before?.incarnation === incarnation) return before.name;
    const http = instances.of(instance.gpu).probes.get('http')?.latest;
    const lease = leases.find(({ gpu }) => gpu === instance.gpu);
    if (http?.incarnation !== incarnation || http.outcome !== 'pass' || lease === undefined) return null;
    const baseUrl = `http://${probeHost(configuration.config.comfyui.listen)}:${lease.tcpPort}`;
    const stats = await ask(() => this.#ports.comfy.systemStats(baseUrl, STATS_TIMEOUT_MS));
    const device = stats.known ? stats.value.devices.find(({ type }) => type === 'cuda') : undefined;
    // "cuda:0 NVIDIA L40S : cudaMallocAsync"
    const name = device === undefined ? null : device.name.replace(/^cuda:\d+ /, '').replace(/ : \w+$/, '');
    this.#devices.set(instance.gpu, { incarnation, name });
    return name;
  }

  #countWrong(gpu: number, incarnation: string, isWrong: boolean): number {
    const before = this.#wrong.get(gpu);
    const count = !isWrong ? 0 : before?.incarnation === incarnation ? before.count : (before?.count ?? 0) + 1;
    this.#wrong.set(gpu, { incarnation, count });
    return count;
  }

  async #processOf(instance: DesiredInstance): Promise<CardFacts['process']> {
    const { observed, gpus, cards, launches } = this.#knowledge;
    const seen = observed?.incarnations.get(instance.name) ?? (observed === null ? unknown(NOT_LOOKED_YET) : known(null));
    if (!seen.known || seen.value === null) return seen.known ? known(null) : seen;
    const { pid, startedAt } = seen.value;
    const incarnation = incarnationKey(seen.value);
    const launch = launches.get(instance.gpu);
    const digest =
      observed?.processes.known === true ? observed.processes.value.find(({ name }) => name === instance.name)?.entryDigest : null;
    const { kernel } = this.#ports;
    const deviceName = await this.#deviceOf(instance, incarnation);
    const names = cards.known ? cards.value.gpus.filter(({ uuid }) => uuid !== instance.uuid).map(({ name }) => name) : [];
    return ask(async (): Promise<CardProcess> => {
      const [pids, visibleDevices] = await Promise.all([
        kernel.tree(pid).catch(() => [pid]),
        kernel.environmentOf(pid, 'CUDA_VISIBLE_DEVICES').catch(() => null),
      ]);
      const isWrong = visibleDevices !== null && visibleDevices !== instance.visibleDevices;
      return {
        incarnation,
        pid,
        startedAt: Date.parse(startedAt),
        pids,
        visibleDevices,
        isCurrent: launch !== undefined && digest === launchDigest(launch),
        wrongStarts: this.#countWrong(instance.gpu, incarnation, isWrong),
        computesOn: gpus.known ? computingOn(gpus.value, pids) : [],
        deviceName,
        otherNames: names.filter((name) => name !== instance.gpuName),
      };
    });
  }
}

/** A driver that lists nothing at all says nothing about one card. */
function listedCard(gpus: Observed<GpuReading>, uuid: string): CardFacts['gpu'] {
  if (!gpus.known) return gpus;
  if (gpus.value.gpus.length === 0) return unknown('the driver lists no card');
  return known(gpus.value.gpus.find((gpu) => gpu.uuid === uuid) ?? null);
}

const computingOn = ({ gpus }: GpuReading, pids: readonly number[]): readonly string[] =>
  // Without a name the pid is one of another world, which may be the same number.
  gpus.filter(({ processes }) => processes.some(({ pid, name }) => name !== null && pids.includes(pid))).map(({ uuid }) => uuid);

/** What is known of the card of an instance now: the newest lines of the kernel log, and nothing of a process that has ended since. */
export function cardFactsOf(knowledge: Knowledge, instance: DesiredInstance, seen: Observed<Incarnation | null>): CardFacts | null {
  const { card: facts } = knowledge.instances.of(instance.gpu);
  if (facts === null || facts.uuid !== instance.uuid) return null;
  const xids: readonly XidEvent[] = facts.pciBusId === null ? [] : (knowledge.xids.get(facts.pciBusId) ?? []);
  const now = seen.known && seen.value !== null ? incarnationKey(seen.value) : null;
  const isSame = facts.process.known && (facts.process.value?.incarnation ?? null) === now && seen.known;
  return { ...facts, xids, process: isSame ? facts.process : unknown('its process was not looked at yet') };
}
