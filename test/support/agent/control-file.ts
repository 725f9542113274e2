import { randomUUID } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { eventually } from '../eventually.ts';
import { replaceFile } from './scene.ts';

export interface ControlFile {
  /** For the environment of the agent, which passes it on to simulators. */
  readonly environment: Readonly<Record<string, string>>;
  /** Replaces the switches of every simulator of that agent (simulator/README.md); taken over within 50 ms. */
  set(switches: Readonly<Record<string, unknown>>): Promise<void>;
}

export function controlFile(directory: string): ControlFile {
  const path = join(directory, 'simulator.json');
  return { environment: { SIM_CONTROL_FILE: path }, set: (switches) => replaceFile(path, JSON.stringify(switches)) };
}

/** Name of the picture that a job saves, without number and ending. */
export type Picture = string;

/** Sets a switch that makes jobs run on, and resolves when a job of this simulator does. @returns what it saves when it ends well */
export async function startLongJob(control: ControlFile, url: string | null): Promise<Picture> {
  let picture: Picture = '';
  await control.set({ job_hang_seconds: true });
  await eventually('a job runs', async () => {
    const { queue_running, queue_pending } = (await (await fetch(`${url}/queue`)).json()) as Record<string, readonly unknown[]>;
    if (queue_running?.length === 1) return true;
    // One that came before the switch was taken over is done by now.
    if (queue_pending?.length === 0) picture = await submitJob(url);
    return false;
  });
  return picture;
}

/** The job ended well: what it was to make is there, once. */
export async function untilPicture(root: string, picture: Picture): Promise<void> {
  await eventually(`the picture ${picture} is there`, async () => {
    const files = await readdir(join(root, 'shared/outputs'), { recursive: true });
    return files.filter((file) => basename(file).startsWith(`${picture}_`)).length === 1;
  });
}

/** Accepts it; what becomes of it is seen in the queue. */
export async function submitJob(url: string | null): Promise<Picture> {
  const colour = Math.floor(Math.random() * 0xffffff);
  const picture: Picture = `job-${randomUUID()}`;
  const prompt = {
    '1': { class_type: 'EmptyImage', inputs: { width: 8, height: 8, batch_size: 1, color: colour } },
    '2': { class_type: 'SaveImage', inputs: { images: ['1', 0], filename_prefix: picture } },
  };
  const response = await fetch(`${url}/prompt`, { method: 'POST', body: JSON.stringify({ prompt }) });
  if (!response.ok) throw new Error(await response.text());
  return picture;
}
