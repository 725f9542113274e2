import type { Layout } from '../../domain/config.ts';
import { releaseDirectory } from '../releases.ts';
import type { InstallContext } from './context.ts';

/** PYTHONPYCACHEPREFIX of a release: releases are immutable, so Python writes what it compiles here. */
const bytecodeDirectory = (layout: Pick<Layout, 'cache'>, releaseId: string): string => `${layout.cache}/pycache/${releaseId}`;

/**
 * Gives the new release the bytecode of the one in place, as hard links: Python takes what belongs to a source of the same
 * time and size, which packages from uv's cache are, and compiles the rest. Without it the first start of every release
 * compiles torch and everything else anew. Only speed is lost when it cannot be done.
 */
export async function inheritBytecode(context: InstallContext): Promise<void> {
  const { ports, layout, previous, releaseId, tracker, signal, inherited } = context;
  if (previous === null) return;
  const [from, to] = [bytecodeDirectory(layout, previous.id), bytecodeDirectory(layout, releaseId)];
  if (!(await ports.files.isDirectory(from)) || (await ports.files.exists(to))) return;
  const linked = await ports.shell.run('cp', ['-al', '--', from, to], {
    environment: { PATH: inherited['PATH'] ?? '/usr/bin:/bin' },
    timeoutMs: context.config.install.pythonTimeoutMs,
    signal,
  });
  // Below the prefix lie the whole paths of the sources, that of the release among them.
  const old = `${to}${releaseDirectory(layout, previous.id)}`;
  if (linked.exitCode !== 0) {
    tracker.log(`bytecode is compiled anew: ${linked.tail.trim().slice(-300)}`);
    await ports.files.remove(to);
  } else if (await ports.files.isDirectory(old)) await ports.files.move(old, `${to}${releaseDirectory(layout, releaseId)}`);
}
