import { isAgentError } from '../../domain/errors/errors.ts';
import { importCulprit } from '../../domain/installation/import-watch.ts';
import type { InstallContext } from './context.ts';
import { leaveOut } from './leave-out.ts';
import { type Trial, type TrialRelease, validateRelease } from './validate.ts';

/**
 * The trial start. Where a node pack ends the process while it is imported, ComfyUI says nothing: the start is made once more
 * with the imports watched, the pack is named and left out like one that does not import, and the rest is tried again.
 * @throws AgentError as `validateRelease`, when no pack is to blame
 */
export async function tryRelease(context: InstallContext, release: TrialRelease, canaryGraph: object): Promise<Trial> {
  const { tracker } = context;
  for (;;) {
    try {
      return await validateRelease(context, release, canaryGraph);
    } catch (error) {
      if (startFailure(error) === null) throw error;
      tracker.detail('starting the release once more, to see whether a node pack ends it');
      const log: string[] = [];
      const again = await validateRelease(context, release, canaryGraph, log).catch((second: unknown) => ({ second }));
      if (!('second' in again)) return again;
      const end = startFailure(again.second);
      const names = tracker.progress.packs.filter(({ state }) => state !== 'failed').map(({ name }) => name);
      const culprit = end === null ? null : importCulprit(log, names);
      if (culprit === null) throw error;
      const deed = culprit.deed === 'ends' ? 'ends ComfyUI' : 'closes files of ComfyUI, which fails then,';
      await leaveOut(context, culprit.name, `it ${deed} while it is imported (${end})`);
      tracker.warn(`node pack ${culprit.name} is left out: it ${deed} while it is imported (${end})`);
    }
  }
}

/** How the start failed, "exit code 0"; null: it is something else that failed. */
function startFailure(error: unknown): string | null {
  const end = isAgentError(error) && error.code === 'VALIDATION_FAILED' ? error.details['start'] : null;
  return typeof end === 'string' ? end : null;
}
