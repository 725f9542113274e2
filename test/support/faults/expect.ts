import type { FaultKind } from '../../../src/domain/faults/verdict.ts';
import type { InstanceDocument } from '../../../src/domain/instances/instance.ts';
import { isAlive } from '../agent/scene.ts';
import { jobEnd } from './jobs.ts';
import type { FaultRow, Seen, Stays, Untouched } from './row.ts';
import type { Scene } from './scene.ts';

/** The words in which rows are written. */

/** Exit to "not ready". */
export const EXIT_MS = 500;
/** A process that answers no HTTP, with the timers of the configuration's defaults. */
export const HANG_MS = 10_000;
/** The same with the short timers of the stages: three looks of 1 s each, and the pause before the first. */
export const SHORT_HANG_MS = 3_500;
export const STRANGER_MS = 2_000;

export interface InstanceWords {
  readonly ready?: boolean;
  readonly status?: InstanceDocument['status'];
  readonly runtime?: RegExp;
  readonly functional?: RegExp;
  readonly lastReason?: RegExp | null;
  readonly warning?: RegExp;
  readonly hold?: RegExp;
  readonly verdict?: FaultKind;
  /** Runtime and functional both pass. */
  readonly layersPass?: boolean;
}

const short = ({ gpu, status, ready, pid, hold, layers, restarts, warnings }: InstanceDocument): string =>
  JSON.stringify({ gpu, status, ready, pid, hold, runtime: layers.runtime, functional: layers.functional, restarts, warnings });

/** The document, with the verdicts that those who make them put in. */
type Judged = InstanceDocument & { readonly verdicts?: readonly { readonly fault: string; readonly reason: string }[] };

function fits(instance: Judged, words: InstanceWords): boolean {
  const matches = (pattern: RegExp | null | undefined, text: string | null): boolean =>
    pattern === undefined || (pattern === null ? text === null : pattern.test(text ?? ''));
  return (
    (words.ready === undefined || instance.ready === words.ready) &&
    (words.status === undefined || instance.status === words.status) &&
    matches(words.runtime, instance.layers.runtime.reason) &&
    matches(words.functional, instance.layers.functional.reason) &&
    matches(words.lastReason, instance.restarts.lastReason) &&
    matches(words.hold, instance.hold) &&
    (words.warning === undefined || instance.warnings.some((warning) => words.warning?.test(warning))) &&
    (words.layersPass !== true || (instance.layers.runtime.status === 'pass' && instance.layers.functional.status === 'pass')) &&
    (words.verdict === undefined || (instance.verdicts ?? []).some(({ fault }) => fault === words.verdict))
  );
}

const lookAt = (gpu: number, words: InstanceWords) => async (scene: Scene) => {
  const instance = await scene.instance(gpu);
  return fits(instance, words) ? null : short(instance);
};

export const seen = (says: string, figureMs: number, look: Seen['look']): Seen => ({ kind: 'seen', says, figureMs, look });
export const stays = (says: string, forMs: number, look: Stays['look']): Stays => ({ kind: 'stays', says, forMs, look });

/** Health says so of an instance. */
export const says = (gpu: number, what: string, figureMs: number, words: InstanceWords): Seen => seen(what, figureMs, lookAt(gpu, words));

/** And goes on saying so. */
export const goesOnSaying = (gpu: number, what: string, forMs: number, words: InstanceWords): Stays =>
  stays(what, forMs, lookAt(gpu, words));

export const isHeld = (target: string, code: string, figureMs: number, reason?: RegExp): Seen =>
  seen(`${target} is held: ${code}`, figureMs, async (scene) => {
    const { holds } = await scene.health();
    const found = holds.some((hold) => hold.target === target && hold.code === code && (reason === undefined || reason.test(hold.reason)));
    return found ? null : JSON.stringify(holds);
  });

/** What it evaluates to is so, else it is told. */
export const fact = (what: string, figureMs: number, look: (scene: Scene) => Promise<boolean | string>): Seen =>
  seen(what, figureMs, async (scene) => {
    const answer = await look(scene);
    return answer === true ? null : answer === false ? 'it is not so' : answer;
  });

const samePids = async (scene: Scene, gpus: readonly number[], before: readonly InstanceDocument[]): Promise<string | null> => {
  const now = (await scene.health()).instances;
  for (const gpu of gpus) {
    const [old, present] = [before, now].map((instances) => instances.find((instance) => instance.gpu === gpu));
    if (old?.pid !== present?.pid) return `instance ${gpu} had pid ${old?.pid} and has ${present?.pid}`;
    if (old?.restarts.total !== present?.restarts.total)
      return `instance ${gpu} counts ${present?.restarts.total} ends, before ${old?.restarts.total}`;
  }
  return null;
};

/** These keep their process and are ready all the time. */
export const others = (...gpus: readonly number[]): Untouched => ({
  what: gpus.length === 1 ? 'the other instance, ready all the time' : 'every instance, ready all the time',
  check: (scene, before) => samePids(scene, gpus, before.instances),
  alwaysReady: gpus,
});

/** These keep their process. */
export const pids = (...gpus: readonly number[]): Untouched => ({
  what: gpus.length === 1 ? 'its process' : 'their processes',
  check: (scene, before) => samePids(scene, gpus, before.instances),
});

export const strangers: Untouched = {
  what: 'the stranger: no signal was sent to it',
  check: async (scene) => {
    for (const stranger of scene.strangers) {
      if (stranger.harm() !== null) return `pid ${stranger.pid}: ${stranger.harm()}`;
      if (!isAlive(stranger.pid)) return `pid ${stranger.pid} is gone`;
    }
    return scene.strangers.length === 0 ? 'there was no stranger' : null;
  },
};

/** Every job that the row submitted. */
export const jobsEnd: Untouched = {
  what: 'the jobs that were under way',
  check: async (scene) => {
    for (const job of scene.jobs) {
      const end = await jobEnd(job);
      if (end !== 'success') return `a job ended with ${end}`;
    }
    return scene.jobs.length === 0 ? 'there was no job' : null;
  },
};

/** Instance 0 was restarted because of that fault, and nothing else was done. */
export const restarted = (words: string, fault: RegExp): FaultRow['done'] => ({
  words,
  events: [
    { type: 'fault.seen', target: 'instance 0', message: fault },
    { type: 'action.restart-instance', target: 'instance 0' },
    { type: 'instance.ready', target: 'instance 0' },
  ],
  never: [
    { type: 'instance.exit', target: 'instance 1' },
    { type: 'action.restart-instance', target: 'instance 1' },
    { type: 'action.quarantine-instance' },
  ],
});

/** Instance 0 has another process than the one in the notes. */
export const otherProcess = (figureMs: number) =>
  fact('it has another process', figureMs, async (scene) => {
    const { pid } = await scene.instance(0);
    return (pid !== null && pid !== scene.notes.get('pid')) || `pid ${pid}`;
  });
