import { dirname } from 'node:path';

const SETTLE_MS = 150;

/**
 * Tells when one of the named files is written, made, replaced by rename, or removed. The directories are watched, so
 * that a file that is not there yet, and editors that replace it, are noticed.
 */
export async function watchFiles(paths: readonly string[], onChange: (path: string) => void): Promise<{ close(): Promise<void> }> {
  const { watch } = await import('chokidar');
  const wanted = new Set(paths);
  const timers = new Map<string, NodeJS.Timeout>();
  const watcher = watch([...new Set(paths.map((path) => dirname(path)))], {
    ignoreInitial: true,
    depth: 0,
    ignorePermissionErrors: true,
    ignored: (path, stats) => stats?.isFile() === true && !wanted.has(path),
  });
  watcher.on('all', (_event, path) => {
    if (!wanted.has(path)) return;
    clearTimeout(timers.get(path));
    timers.set(
      path,
      setTimeout(() => {
        timers.delete(path);
        onChange(path);
      }, SETTLE_MS),
    );
  });
  await new Promise<void>((done) => watcher.once('ready', () => done()));
  return {
    close: async () => {
      for (const timer of timers.values()) clearTimeout(timer);
      await watcher.close();
    },
  };
}
