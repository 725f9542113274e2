import { join } from 'node:path';
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

/** A job for a simulator: one node, so that it is done at once unless a switch says otherwise. */
export async function submitJob(url: string | null): Promise<void> {
  const colour = Math.floor(Math.random() * 0xffffff);
  const prompt = {
    '1': { class_type: 'EmptyImage', inputs: { width: 8, height: 8, batch_size: 1, color: colour } },
    '2': { class_type: 'PreviewImage', inputs: { images: ['1', 0] } },
  };
  const response = await fetch(`${url}/prompt`, { method: 'POST', body: JSON.stringify({ prompt }) });
  if (!response.ok) throw new Error(await response.text());
}
