import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { eventually } from '../eventually.ts';
import { type Job, type JobEnd, lookAtJob, submitJob } from '../faults/jobs.ts';

/** What became of the prompts that instances took. */
export interface PromptReport {
  readonly taken: number;
  /** Their picture was not written. */
  readonly lost: readonly string[];
  /** Their picture was written more than once. */
  readonly repeated: readonly string[];
  /** Done, and the process that could tell of it has ended since. */
  readonly forgotten: readonly string[];
}

export interface Prompts {
  readonly taken: () => number;
  /** No more are sent; those that were taken are waited for. */
  end(): Promise<PromptReport>;
}

/** Waiting and running on each instance. */
const AT_ONCE = 2;
const PERIOD_MS = 20;
const END_LIMIT_MS = 30_000;

/**
 * Prompts all the time to every instance that is offered, each of which has more of them than it can do. Each is to leave
 * exactly one picture below shared/outputs of the root.
 *
 * @param offered base URLs of those to be asked now; whoever refuses has taken nothing
 */
export function sendPrompts(root: string, offered: () => readonly string[] | Promise<readonly string[]>): Prompts {
  const sent = new Map<string, Job>();
  const open = new Map<string, string>();
  let [over, number] = [false, 0];
  const turn = async (): Promise<void> => {
    for (const name of open.keys()) {
      const job = sent.get(name);
      const end = job === undefined ? 'lost' : await lookAtJob(job).catch(() => null);
      if (end !== null) open.delete(name);
    }
    for (const url of await offered()) {
      if (over || [...open.values()].filter((each) => each === url).length >= AT_ONCE) continue;
      const name = `prompt${String(++number).padStart(5, '0')}`;
      const job = await submitJob(url, { saveAs: name }).catch(() => null);
      if (job === null) continue;
      sent.set(name, job);
      open.set(name, url);
    }
  };
  const sending = (async () => {
    while (!over) {
      // Whoever is asked for the addresses may be away.
      await turn().catch(() => undefined);
      await new Promise((resolve) => setTimeout(resolve, PERIOD_MS));
    }
  })();
  return {
    taken: () => sent.size,
    end: async () => {
      over = true;
      await sending;
      const ends = new Map<string, JobEnd>();
      for (const [name, job] of sent)
        ends.set(name, await eventually(`${name} ends`, () => lookAtJob(job), END_LIMIT_MS).catch((): JobEnd => 'lost'));
      const files = await readdir(join(root, 'shared/outputs'), { recursive: true });
      const pictures = (name: string): number => files.filter((file) => file.includes(`/${name}_`)).length;
      const names = [...sent.keys()];
      return {
        taken: names.length,
        lost: names.filter((name) => ends.get(name) === 'error' || pictures(name) === 0),
        repeated: names.filter((name) => pictures(name) > 1),
        forgotten: names.filter((name) => ends.get(name) === 'lost' && pictures(name) === 1),
      };
    },
  };
}
