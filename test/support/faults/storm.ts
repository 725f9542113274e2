import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { DiscoveryDocument } from '../../../src/domain/instances/discovery.ts';
import { type CardKind, cardsOf } from '../agent/cards.ts';
import { processesKnowing } from '../agent/processes.ts';
import { eventually } from '../eventually.ts';
import { seededRandom } from '../kills/round.ts';
import { jobEnd, submitJob } from './jobs.ts';
import { readJournal } from './journal.ts';
import { openScene, type Scene } from './scene.ts';
import { drawFault, type StormScene, stormFaults } from './storm-faults.ts';
import { type StreamReport, startStream } from './stream.ts';
import { startWitness, type Witness } from './witness.ts';
import type { WitnessReport } from './witness-tally.ts';

export interface StormOptions {
  readonly durationMs: number;
  readonly seed: number;
  readonly cards: CardKind;
  readonly onFault?: (line: string) => void;
}

export interface StormReport {
  readonly seed: number;
  readonly cards: CardKind;
  readonly seconds: number;
  /** How often each fault was made. */
  readonly faults: Readonly<Record<string, number>>;
  /** What went wrong with the making or the healing of a fault. */
  readonly problems: readonly string[];
  readonly stream: StreamReport;
  readonly witness: WitnessReport;
  /** Until every instance was healthy after the last fault. */
  readonly settledMs: number;
  /** Instances that ran a job afterwards. */
  readonly serving: number;
  /** Processes of instances that the agent took for superfluous: every card is there all the time. */
  readonly removed: readonly string[];
  /** Files below the logs directory that are larger than their bound. */
  readonly oversized: readonly string[];
  /** Processes that knew the root after the agent had ended. */
  readonly leftOver: readonly string[];
}

const GPUS = 4;
/** Time between faults, and how many may last at once: some instance must be left to serve. */
const PAUSE_MS = 3_000;
const AT_ONCE = 2;
const BACK_MS = 60_000;
const LOG_BOUND_BYTES = 2 * 50 * 1024 * 1024;

/** Random faults on four instances under load, and what a witness saw of it. */
export async function runStorm({ durationMs, seed, cards, onFault = () => undefined }: StormOptions): Promise<StormReport> {
  const began = performance.now();
  const scene = await openScene({
    cards: await cardsOf(cards, GPUS),
    // Timers of the defaults: the limits of the witness are the figures. What is asked of one machine in years must not quarantine it here.
    config: {
      health: { maxRestartsInWindow: 1_000, backOff: { afterExits: 1_000 }, drainTimeoutMs: 10_000, canary: { timeoutMs: 10_000 } },
    },
  });
  try {
    await scene.agent.untilReady([0, 1, 2, 3]);
    const ports = (await scene.health()).instances.map(({ port }) => port ?? 0);
    const witness = startWitness();
    witness.order({ kind: 'watch', ports });
    witness.order({ kind: 'agent', url: scene.agent.url });
    const stream = startStream(async () => (await scene.agent.get('/v1/discovery')).body as DiscoveryDocument);
    const storm: StormScene = { scene, witness, ports, random: seededRandom(seed) };
    const { faults, problems } = await rage(storm, durationMs, onFault);
    const calmAt = performance.now();
    const settled = await within('the machine settles', allHealthy(scene)).catch(
      (error: unknown) => void problems.push(`not healthy afterwards: ${describe(error)}`),
    );
    const settledMs = Math.round(performance.now() - calmAt);
    // The last of the stream, then a job of our own on each.
    const streamed = await within('the stream ends', stream.stop());
    const serving = settled === undefined ? 0 : await within('a last job on each instance', serve(scene));
    const seen = await within('the witness reports', stopWatching(witness));
    const removed = readJournal(scene.root).flatMap(({ type, target }) => (type === 'action.remove-process' ? [target] : []));
    const oversized = await largeFiles(join(scene.root, 'logs'));
    const leftOver = await within('the agent ends', endAndLook(scene));
    return {
      seed,
      cards,
      seconds: Math.round((performance.now() - began) / 1_000),
      faults,
      problems,
      stream: streamed,
      witness: seen,
      settledMs,
      serving,
      removed,
      oversized,
      leftOver,
    };
  } finally {
    await scene.close();
  }
}

async function rage(storm: StormScene, durationMs: number, onFault: (line: string) => void) {
  const { scene, random } = storm;
  const end = performance.now() + durationMs;
  const faults: Record<string, number> = {};
  const problems: string[] = [];
  const running = new Map<number, Promise<void>>();
  while (performance.now() < end) {
    const fault = drawFault(random, stormFaults);
    const gpu = Math.floor(random() * GPUS);
    if (fault.whole) await Promise.all(running.values());
    else if (running.has(gpu) || running.size >= AT_ONCE) {
      await pause(100);
      continue;
    }
    faults[fault.name] = (faults[fault.name] ?? 0) + 1;
    onFault(`${fault.name} ${fault.whole ? 'machine' : `instance ${gpu}`}`);
    const made = within(fault.name, fault.make(storm, gpu))
      .then(() => eventually(`service after ${fault.name}`, () => isBack(scene, fault.whole ? [0, 1, 2, 3] : [gpu]), BACK_MS))
      .then(
        () => undefined,
        (error: unknown) => void problems.push(`${fault.name} on ${gpu}: ${describe(error)}`),
      )
      .finally(() => running.delete(gpu));
    running.set(gpu, made);
    if (fault.whole) await made;
    await pause(PAUSE_MS * (0.5 + random()));
  }
  await Promise.all(running.values());
  return { faults, problems };
}

/** Nothing of the storm takes longer than this; what does is named instead of waited for. */
const STAGE_MS = 90_000;

async function within<T>(what: string, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: not within ${STAGE_MS / 1_000} s`)), STAGE_MS);
  });
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
}

const describe = (error: unknown): string =>
  error instanceof Error ? `${error.message}${error.cause instanceof Error ? `: ${error.cause.message}` : ''}` : String(error);

async function isBack(scene: Scene, gpus: readonly number[]): Promise<boolean> {
  const { instances } = await scene.health();
  const away = instances.filter(({ gpu, ready }) => gpus.includes(gpu) && !ready);
  if (away.length > 0) throw new Error(JSON.stringify(away));
  return true;
}

const allHealthy = (scene: Scene): Promise<true> =>
  eventually(
    'the machine is healthy',
    async () => {
      const { status, reasons, instances } = await scene.health();
      if (status === 'healthy') return true as const;
      throw new Error(`${status}: ${JSON.stringify(reasons)} ${JSON.stringify(instances)}`);
    },
    BACK_MS,
  );

async function serve(scene: Scene): Promise<number> {
  const { instances } = await scene.health();
  const ends = await Promise.all(instances.map(async ({ url }) => jobEnd(await submitJob(url ?? '')).catch(() => 'lost')));
  return ends.filter((end) => end === 'success').length;
}

const stopWatching = (witness: Witness): Promise<WitnessReport> => witness.report();

async function largeFiles(directory: string): Promise<readonly string[]> {
  const names = await readdir(directory);
  const sizes = await Promise.all(names.map(async (name) => [name, (await stat(join(directory, name))).size] as const));
  return sizes.filter(([, size]) => size > LOG_BOUND_BYTES).map(([name, size]) => `${name}: ${size}`);
}

async function endAndLook(scene: Scene): Promise<readonly string[]> {
  await scene.endRow();
  await scene.agent.stop();
  return (await processesKnowing(scene.root)).map(({ pid, command }) => `${pid} ${command}`);
}
