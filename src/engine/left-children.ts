import type { Layout } from '../domain/config.ts';
import type { Files, Logger, Ports } from '../ports.ts';

/** In the environment of everything that the owner of a root runs for itself: git, uv, scripts of packs, the trial start. */
export const CHILD_MARK = 'AGENT_CHILD_OF';

/** The root itself, by whatever path it was named. */
export const childMark = async (files: Pick<Files, 'realPath'>, root: string): Promise<string> => (await files.realPath(root)) ?? root;

const GRACE_MS = 2_000;
const GIVE_UP_MS = 5_000;
const LOOK_MS = 25;

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
    const left = await endAll(
      ports,
      () => ports.kernel.withEnvironment(CHILD_MARK, mark),
      (pid, command) => log.warn({ pid, command }, 'ending a process that an earlier agent left running'),
    );
    if (left.length > 0) log.warn({ pids: left }, 'processes of an earlier agent do not end');
    // Their work files.
    await ports.files.remove(`${cache}/tmp`);
  } catch (error) {
    log.warn({ cause: error instanceof Error ? error.message : String(error) }, 'what an earlier agent left could not be cleared away');
  }
}

/** Whether a process runs an instance of this root, whoever hosts it. */
export async function isInstanceOf(
  { kernel }: Pick<Ports, 'kernel'>,
  root: string,
  pid: number,
  names: readonly string[],
): Promise<boolean> {
  const [at, name] = await Promise.all([kernel.environmentOf(pid, 'AGENT_ROOT'), kernel.environmentOf(pid, 'AGENT_INSTANCE')]);
  return at === root && name !== null && names.includes(name);
}

/**
 * Ends what still runs as this instance though PM2 does not have it: a PM2 that was killed leaves its processes, which hold
 * the port and the card.
 */
export async function endSurvivors(ports: Pick<Ports, 'kernel' | 'clock' | 'processes'>, root: string, name: string): Promise<void> {
  const { kernel } = ports;
  const hosted = (await ports.processes.list()).flatMap((process) => (process.pid === null ? [] : [process.pid]));
  const trees = new Set((await Promise.all(hosted.map((pid) => kernel.tree(pid)))).flat());
  await endAll(ports, async () => {
    const named = (await kernel.withEnvironment('AGENT_INSTANCE', name)).filter((pid) => !trees.has(pid));
    const ours = await Promise.all(named.map((pid) => isInstanceOf(ports, root, pid, [name])));
    return named.filter((_, index) => ours[index]);
  });
}

/** SIGTERM to all that `look` finds, SIGKILL after a grace period. @returns those that do not end */
async function endAll(
  { kernel, clock }: Pick<Ports, 'kernel' | 'clock'>,
  look: () => Promise<readonly number[]>,
  onFirst: (pid: number, command: string | null) => void = () => undefined,
): Promise<readonly number[]> {
  const began = clock.monotonic();
  const told = new Set<number>();
  for (;;) {
    const left = await look();
    const elapsed = clock.monotonic() - began;
    if (left.length === 0 || elapsed > GIVE_UP_MS) return left;
    for (const pid of left) {
      const incarnation = await kernel.incarnation(pid);
      if (incarnation === null) continue;
      if (!told.has(pid)) onFirst(pid, await kernel.command(pid));
      if (elapsed > GRACE_MS) await kernel.end(incarnation, 'SIGKILL');
      else if (!told.has(pid)) await kernel.end(incarnation, 'SIGTERM');
      told.add(pid);
    }
    await clock.sleep(LOOK_MS);
  }
}
