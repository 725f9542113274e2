import { releaseDirectory } from '../releases/releases.ts';
import type { InstallContext } from './context.ts';

/**
 * Gives the new release the bytecode of the one in place, as hard links: Python takes what belongs to a source of the same
 * time and size, which packages from uv's cache are, and compiles the rest. Without it the first start of every release
 * compiles torch and everything else anew. A root that was made anew takes what the cache still has of the newest release
 * before. Only speed is lost when it cannot be done.
 */
export async function inheritBytecode(context: InstallContext): Promise<void> {
  const { ports, layout, releaseId, tracker, signal, inherited } = context;
  const donor = await donorOf(context);
  if (donor === null) return;
  // PYTHONPYCACHEPREFIX of each: releases are immutable, so Python writes what it compiles there.
  const [from, to] = [`${layout.bytecode}/${donor}`, `${layout.bytecode}/${releaseId}`];
  const linked = await ports.shell.run('cp', ['-al', '--', from, to], {
    environment: { PATH: inherited['PATH'] ?? '/usr/bin:/bin' },
    timeoutMs: context.config.install.pythonTimeoutMs,
    signal,
  });
  // Below the prefix lie the whole paths of the sources, that of the release among them.
  const old = `${to}${releaseDirectory(layout, donor)}`;
  if (linked.exitCode !== 0) {
    tracker.log(`bytecode is compiled anew: ${linked.tail.trim().slice(-300)}`);
    await ports.files.remove(to);
  } else if (await ports.files.isDirectory(old)) await ports.files.move(old, `${to}${releaseDirectory(layout, releaseId)}`);
}

/** The release whose bytecode is taken; null: there is none, or the new one has its own already. */
async function donorOf({ ports, layout, previous, releaseId }: InstallContext): Promise<string | null> {
  // Ids sort by time.
  const kept = (await ports.files.list(layout.bytecode)).toSorted();
  if (kept.includes(releaseId)) return null;
  return previous !== null && kept.includes(previous.id) ? previous.id : (kept.at(-1) ?? null);
}
