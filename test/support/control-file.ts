import { join } from 'node:path';
import { eventually } from './eventually.ts';
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

/** Sets a switch that makes jobs run on, and resolves when a job of this simulator does. */
export async function startLongJob(control: ControlFile, url: string | null): Promise<void> {
  await control.set({ job_hang_seconds: true });
  await eventually('a job runs', async () => {
    const { queue_running, queue_pending } = (await (await fetch(`${url}/queue`)).json()) as Record<string, readonly unknown[]>;
    if (queue_running?.length === 1) return true;
    // One that came before the switch was taken over is done by now.
    if (queue_pending?.length === 0) await submitJob(url);
    return false;
  });
}

/** Accepts it; what becomes of it is seen in the queue. */
export async function submitJob(url: string | null): Promise<void> {
  const colour = Math.floor(Math.random() * 0xffffff);
  const prompt = {
    '1': { class_type: 'EmptyImage', inputs: { width: 8, height: 8, batch_size: 1, color: colour } },
    '2': { class_type: 'PreviewImage', inputs: { images: ['1', 0] } },
  };
  const response = await fetch(`${url}/prompt`, { method: 'POST', body: JSON.stringify({ prompt }) });
  if (!response.ok) throw new Error(await response.text());
}
