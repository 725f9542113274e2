import type { DiscoveryDocument } from '../../../src/domain/instances/discovery.ts';
import { type Job, lookAtJob, submitJob } from './jobs.ts';

export interface StreamReport {
  readonly submitted: number;
  readonly done: number;
  /** Ended with an error of ComfyUI's own. */
  readonly failed: number;
  /** Taken by a process that ended before they did. */
  readonly lost: number;
  /** Instances that discovery called ready and that took no job. */
  readonly refused: number;
}

export interface Stream {
  stop(): Promise<StreamReport>;
}

const PER_INSTANCE = 2;
const PERIOD_MS = 100;
const GIVE_UP_MS = 60_000;

/** A constant stream of prompts, straight to every instance that discovery calls ready. */
export function startStream(discovery: () => Promise<DiscoveryDocument>): Stream {
  const counts = { submitted: 0, done: 0, failed: 0, lost: 0, refused: 0 };
  const open = new Map<string, { readonly job: Job; readonly since: number }>();
  let over = false;
  const turn = async (): Promise<void> => {
    for (const [id, { job, since }] of open) {
      const end = await lookAtJob(job).catch(() => (performance.now() - since > GIVE_UP_MS ? ('lost' as const) : null));
      if (end === null) continue;
      open.delete(id);
      counts[end === 'success' ? 'done' : end === 'error' ? 'failed' : 'lost'] += 1;
    }
    const { instances } = await discovery();
    await Promise.all(
      instances.map(async ({ ready, url }) => {
        const mine = [...open.values()].filter(({ job }) => job.url === url).length;
        if (!ready || mine >= PER_INSTANCE || over) return;
        try {
          const job = await submitJob(url);
          counts.submitted += 1;
          open.set(job.promptId, { job, since: performance.now() });
        } catch {
          counts.refused += 1;
        }
      }),
    );
  };
  const running = (async () => {
    while (!over) {
      await turn().catch(() => undefined);
      await new Promise((resolve) => setTimeout(resolve, PERIOD_MS));
    }
  })();
  return {
    stop: async () => {
      over = true;
      await running;
      const end = performance.now() + 10_000;
      while (open.size > 0 && performance.now() < end) await turn().catch(() => undefined);
      return { ...counts, lost: counts.lost + open.size };
    },
  };
}
