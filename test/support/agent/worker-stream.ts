import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { eventually } from '../eventually.ts';

/** What became of the prompts that instances took. */
export interface StreamEnd {
  readonly taken: number;
  /** Names of those whose output file is not there. */
  readonly lost: readonly string[];
}

/** Between two prompts of one worker: a new one is always on its way. */
const PAUSE_MS = 40;

const LIMIT_MS = 60_000;

/**
 * Workers as they are in the field: each reads discovery, sends a prompt to an instance that is called ready, and does not look back.
 * A prompt that no instance took is the worker's to send again; one that was taken must end as its output file.
 */
export function startStream(
  root: string,
  workers = 2,
): { readonly untilTaken: (more: number) => Promise<unknown>; readonly stop: () => Promise<StreamEnd> } {
  const taken: string[] = [];
  let isOver = false;
  let next = 0;
  const work = async (): Promise<void> => {
    while (!isOver) {
      const name = `stream${next++}`;
      const urls = await readyUrls(root);
      const url = urls[next % Math.max(1, urls.length)];
      if (url !== undefined && (await submit(url, name))) taken.push(name);
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
  };
  const running = Promise.all(Array.from({ length: workers }, work));
  return {
    untilTaken: (more) => {
      const goal = taken.length + more;
      return eventually(`${more} more prompts are taken`, () => taken.length >= goal, LIMIT_MS);
    },
    stop: async () => {
      isOver = true;
      await running;
      // What was taken last is given the time of many jobs.
      for (let tries = 0; ; tries++) {
        const lost = await missing(root, taken);
        if (lost.length === 0 || tries === 100) return { taken: taken.length, lost };
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    },
  };
}

async function readyUrls(root: string): Promise<readonly string[]> {
  const text = await readFile(join(root, 'run/instances.json'), 'utf8').catch(() => '{"instances":[]}');
  const { instances } = JSON.parse(text) as { readonly instances: readonly { readonly ready: boolean; readonly url: string }[] };
  return instances.filter(({ ready }) => ready).map(({ url }) => url);
}

async function submit(url: string, name: string): Promise<boolean> {
  const image = { width: 8, height: 8, batch_size: 1, color: Math.floor(Math.random() * 0xffffff) };
  const prompt = {
    '1': { class_type: 'EmptyImage', inputs: image },
    '2': { class_type: 'SaveImage', inputs: { images: ['1', 0], filename_prefix: name } },
  };
  const answer = await fetch(`${url}/prompt`, { method: 'POST', body: JSON.stringify({ prompt }), headers: { connection: 'close' } }).catch(
    () => null,
  );
  return answer?.status === 200;
}

async function missing(root: string, names: readonly string[]): Promise<readonly string[]> {
  const outputs = join(root, 'shared/outputs');
  const found = new Set<string>();
  for (const path of await readdir(outputs, { recursive: true })) {
    const name = /(stream\d+)_\d+_\.png$/.exec(path)?.[1];
    if (name !== undefined && (await stat(join(outputs, path))).size > 0) found.add(name);
  }
  return names.filter((name) => !found.has(name));
}
