import type { Layout } from '../../domain/configuration/config.ts';
import type { Files } from '../../ports/files.ts';
import type { Logger } from '../../ports/logs.ts';
import type { Ports } from '../../ports.ts';
import { endAll, withTheirTrees } from './ownership.ts';

/** In the environment of everything that the owner of a root runs for itself: git, uv, scripts of packs, the trial start. */
export const CHILD_MARK = 'AGENT_CHILD_OF';

/** The root itself, by whatever path it was named. */
export const childMark = async (files: Pick<Files, 'realPath'>, root: string): Promise<string> => (await files.realPath(root)) ?? root;

const GRACE_MS = 2_000;

/**
 * Ends what an agent that was killed has left running: a trial start would stay for ever, a git or uv would still write into
 * what is built now. To be called by the new owner of the root before it starts anything itself.
 */
export async function endLeftChildren(
  ports: Pick<Ports, 'kernel' | 'files' | 'clock'>,
  { root, cache }: Pick<Layout, 'root' | 'cache'>,
  log: Logger,
): Promise<void> {
  try {
    const mark = await childMark(ports.files, root);
    const look = async () => {
      const pids = await ports.kernel.withEnvironment(CHILD_MARK, mark);
      return withTheirTrees(
        ports,
        pids.map((pid) => ({ pid, claim: { startTicks: null, marks: { [CHILD_MARK]: [mark] } } })),
      );
    };
    const left = await endAll(ports, look, {
      graceMs: GRACE_MS,
      signal: 'SIGTERM',
      onFirst: (pid, command) => log.warn({ pid, command }, 'ending a process that an earlier agent left running'),
    });
    if (left.length > 0) log.warn({ pids: left.map(({ pid }) => pid) }, 'processes of an earlier agent do not end');
    // Their work files.
    await ports.files.remove(`${cache}/tmp`);
  } catch (error) {
    log.warn({ cause: error instanceof Error ? error.message : String(error) }, 'what an earlier agent left could not be cleared away');
  }
}
