import type { HealthDocument } from '../../../src/domain/health/health.ts';
import type { JournalEvent } from '../../../src/domain/journal.ts';
import { jobEnd, submitJob } from './jobs.ts';
import { type Expectation, type FaultRow, type JournalPattern, LIMIT_FACTOR, type RowReport } from './row.ts';
import type { Scene } from './scene.ts';

const LOOK_MS = 20;
/** Beyond five times a short figure a busy machine still gets this long. */
const LEAST_LIMIT_MS = 2_500;
/** Settling after a row, whatever its figure. */
const SETTLE_LIMIT_MS = 60_000;

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const limitOf = (figureMs: number): number => Math.max(LEAST_LIMIT_MS, figureMs * LIMIT_FACTOR);

/** Makes the fault and checks all that the row says. Never rejects: what is wrong is in the report. */
export async function runRow(row: FaultRow, scene: Scene): Promise<RowReport> {
  const began = performance.now();
  const begunAt = Date.now();
  const seenMs: (number | null)[] = [];
  let backMs: number | null = null;
  const report = (error: string | null): RowReport => ({
    id: row.id,
    ok: error === null,
    seenMs,
    backMs,
    tookMs: Math.round(performance.now() - began),
    error,
  });
  try {
    await untilAllServe(scene);
    const before = await scene.snapshot();
    const watch = watchReady(
      scene,
      row.untouched.flatMap(({ alwaysReady }) => alwaysReady ?? []),
    );
    try {
      scene.strike();
      await row.inject(scene);
      for (const expectation of row.health) seenMs.push(await meet(expectation, scene));
      if (row.heal !== undefined) {
        scene.strike();
        await row.heal.how(scene);
      }
      backMs = await serviceBack(row, scene);
      await untilAllServe(scene);
    } finally {
      await watch.stop();
    }
    // What the row before could not write comes late.
    const events = scene.journal().filter(({ at }) => Date.parse(at) >= begunAt);
    checkJournal(events, row.done.events, row.done.never ?? []);
    for (const { what, check } of row.untouched) {
      const harm = await check(scene, before);
      if (harm !== null) throw new Error(`touched was ${what}: ${harm}`);
    }
    if (watch.wrong !== null) throw new Error(`falsely red: ${watch.wrong}`);
    return report(null);
  } catch (error) {
    return report(`${error instanceof Error ? error.message : String(error)}\n${scene.agent.output().slice(-3_000)}`);
  }
}

/** @returns ms from the fault, null for what stays */
async function meet(expectation: Expectation, scene: Scene): Promise<number | null> {
  const { says, look } = expectation;
  if (expectation.kind === 'stays') {
    const end = performance.now() + expectation.forMs;
    while (performance.now() < end) {
      const instead = await look(scene);
      if (instead !== null) throw new Error(`it did not stay so: ${says}; ${instead}`);
      await pause(LOOK_MS);
    }
    return null;
  }
  const limit = limitOf(expectation.figureMs);
  for (;;) {
    const at = performance.now();
    const instead = await look(scene).catch((error: unknown) => `it could not be asked: ${String(error)}`);
    if (instead === null) return Math.round(at - scene.struckAt);
    if (at - scene.struckAt > limit) throw new Error(`not within ${limit} ms: ${says}; ${instead}`);
    await pause(LOOK_MS);
  }
}

/** Ready in health, and a job through discovery really runs. */
async function serviceBack({ back }: FaultRow, scene: Scene): Promise<number> {
  const limit = limitOf(back.figureMs);
  let readyMs: number;
  for (;;) {
    const at = performance.now();
    const instances = await Promise.all(back.gpus.map((gpu) => scene.instance(gpu))).catch(() => []);
    if (instances.length > 0 && instances.every(({ ready }) => ready)) {
      readyMs = at - scene.struckAt;
      break;
    }
    if (at - scene.struckAt > limit) throw new Error(`service is not back within ${limit} ms: ${JSON.stringify(instances)}`);
    await pause(LOOK_MS);
  }
  for (const gpu of back.gpus) {
    const { url } = await scene.instance(gpu);
    const end = await jobEnd(await submitJob(url ?? ''));
    if (end !== 'success') throw new Error(`instance ${gpu} is called ready, and a job of it ended with ${end}`);
  }
  return Math.round(readyMs);
}

async function untilAllServe(scene: Scene): Promise<void> {
  const end = performance.now() + SETTLE_LIMIT_MS;
  for (;;) {
    const health = await scene.health().catch(() => null);
    if (health !== null && health.holds.length === 0 && (health.status === 'healthy' || isShownOnly(health))) return;
    if (performance.now() > end) throw new Error(`not settled before the row: ${JSON.stringify(health)}`);
    await pause(LOOK_MS);
  }
}

/** A memory error of a job is shown for a minute, and nothing is wrong any more. */
const isShownOnly = ({ instances, verdicts }: HealthDocument): boolean =>
  verdicts.length === 0 &&
  instances.every((each) => each.ready && each.warnings.length === 0 && each.layers.models.status !== 'fail') &&
  instances.flatMap((each) => each.verdicts).every(({ fault }) => fault === 'job-out-of-memory');

interface ReadyWatch {
  wrong: string | null;
  stop(): Promise<void>;
}

/** Looks all the time whether these instances are called ready. An agent that is away says nothing. */
function watchReady(scene: Scene, gpus: readonly number[]): ReadyWatch {
  let over = false;
  const watch: ReadyWatch = {
    wrong: null,
    stop: async () => {
      over = true;
      await running;
    },
  };
  const run = async (): Promise<void> => {
    while (!over && gpus.length > 0) {
      const instances = await scene
        .health()
        .then((health) => health.instances)
        .catch(() => []);
      const red = instances.find(({ gpu, ready }) => gpus.includes(gpu) && !ready);
      if (red !== undefined) watch.wrong ??= JSON.stringify(red);
      await pause(100);
    }
  };
  const running = run();
  return watch;
}

function checkJournal(journal: readonly JournalEvent[], wanted: readonly JournalPattern[], never: readonly JournalPattern[]): void {
  const fits = (event: JournalEvent, { type, target, message }: JournalPattern): boolean =>
    event.type === type && (target === undefined || event.target === target) && (message === undefined || message.test(event.message));
  const text = (): string => journal.map(({ target, type, message }) => `${target}: ${type}: ${message}`).join('\n');
  let from = 0;
  for (const pattern of wanted) {
    const found = journal.findIndex((event, index) => index >= from && fits(event, pattern));
    if (found < 0) throw new Error(`the journal does not tell (in this order) ${describe(pattern)}:\n${text()}`);
    from = found + 1;
  }
  for (const pattern of never) {
    if (journal.some((event) => fits(event, pattern))) throw new Error(`the journal tells ${describe(pattern)}:\n${text()}`);
  }
}

const describe = ({ type, target, message }: JournalPattern): string => `${target ?? ''} ${type} ${message ?? ''}`.trim();
