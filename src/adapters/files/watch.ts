import { stat } from 'node:fs/promises';
import { dirname, resolve, sep } from 'node:path';
import { errorCode } from './errors.ts';

/** An editor's save is several events; one call is made when they have stopped for this long. */
const SETTLE_MS = 150;
/** How often files are looked at where the kernel has no watches left. */
const POLL_MS = 2_000;
const NO_WATCHES_LEFT = new Set(['ENOSPC', 'EMFILE', 'ENFILE']);

/**
 * Tells when one of the named files is written, made, replaced by rename, or removed; `onChange` gets the path as it was
 * named. Their directories are watched, so that files, and directories, that are not there yet are noticed too.
 */
export async function watchFiles(paths: readonly string[], onChange: (path: string) => void): Promise<{ close(): Promise<void> }> {
  const { watch } = await import('chokidar');
  const named = new Map(paths.map((path) => [resolve(path), path]));
  const places = [...named.keys()];
  const isOnTheWay = (path: string): boolean => places.some((place) => place === path || place.startsWith(withSeparator(path)));
  const directories = [...new Set(await Promise.all(places.map((place) => nearestDirectory(dirname(place)))))];
  const timers = new Map<string, NodeJS.Timeout>();

  const tell = (path: string): void => {
    const name = named.get(path);
    if (name === undefined) return;
    clearTimeout(timers.get(path));
    timers.set(
      path,
      setTimeout(() => {
        timers.delete(path);
        onChange(name);
      }, SETTLE_MS),
    );
  };
  const begin = (usePolling: boolean) => {
    const watcher = watch(directories, {
      ignoreInitial: true,
      ignorePermissionErrors: true,
      usePolling,
      interval: POLL_MS,
      ignored: (path) => !isOnTheWay(path),
    });
    watcher.on('all', (_event, path) => tell(path));
    return watcher;
  };

  let watcher = begin(false);
  let isClosed = false;
  await new Promise<void>((done) => {
    watcher.once('ready', () => done());
    watcher.on('error', (error) => {
      if (isClosed || !NO_WATCHES_LEFT.has(errorCode(error) ?? '')) return done();
      void watcher.close();
      watcher = begin(true);
      watcher.on('error', () => done());
      watcher.once('ready', () => {
        done();
        // What changed between the two watchers was seen by neither.
        for (const place of places) tell(place);
      });
    });
  });
  return {
    close: async () => {
      isClosed = true;
      for (const timer of timers.values()) clearTimeout(timer);
      timers.clear();
      await watcher.close();
    },
  };
}

const withSeparator = (path: string): string => (path.endsWith(sep) ? path : path + sep);

async function nearestDirectory(path: string): Promise<string> {
  const isThere = await stat(path).then(
    (facts) => facts.isDirectory(),
    () => false,
  );
  return isThere || dirname(path) === path ? path : nearestDirectory(dirname(path));
}
