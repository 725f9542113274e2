/**
 * One bare mirror for each repository URL under the cache. It holds the refs that were asked for, with their history,
 * and every commit that was pinned (refs/agent/<commit>); a later fetch brings only what is new. It stores no URL and
 * no credentials. A mirror may be deleted at any time.
 */
import { createHash } from 'node:crypto';
import { mkdir, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { AgentError } from '../../domain/errors/errors.ts';
import { type GitUrl, redactUrl } from '../../domain/installation/git-url.ts';
import type { GitOptions } from '../../ports/git.ts';
import type { GitRunner } from './command.ts';
import { isFullCommit } from './refs.ts';

/** What to have in the mirror. */
interface MirrorWant {
  /** A whole commit, or the beginning of one. */
  readonly commit: string;
  /** Full name of the ref it was found at or is expected in; null: unknown. */
  readonly ref: string | null;
}

export interface Mirrors {
  pathOf(remote: GitUrl): string;
  /**
   * Fetches unless it is there, then runs `use` while nobody else changes the mirror.
   * @param use gets the mirror and the whole commit
   * @throws AgentError COMMIT_NOT_FOUND
   */
  withCommit<T>(remote: GitUrl, want: MirrorWant, options: GitOptions, use: (mirror: string, commit: string) => Promise<T>): Promise<T>;
  /** Runs `use` with the mirror, empty where there was none, while nobody else changes it. */
  withMirror<T>(remote: GitUrl, options: GitOptions, use: (mirror: string) => Promise<T>): Promise<T>;
  /** Forgets a mirror that turned out to be damaged. */
  remove(remote: GitUrl): Promise<void>;
}

/** Directory name of a URL's mirror: words for people, a digest for uniqueness. Credentials play no part. */
export function mirrorName(url: string): string {
  const words = url
    .replace(/^[a-z+]+:\/\//i, '')
    .replace(/\.git\/?$/, '')
    .split(/[/:@?#]+/)
    .filter(Boolean)
    .slice(-2)
    .join('-');
  const slug =
    words
      .replace(/[^A-Za-z0-9._-]+/g, '-')
      .replace(/^[.-]+/, '')
      .slice(0, 60) || 'repository';
  return `${slug}-${createHash('sha256').update(url).digest('hex').slice(0, 8)}.git`;
}

export function createMirrors(directory: string, runner: GitRunner): Mirrors {
  // One at a time for each mirror; the root's lock keeps other agents away.
  const queues = new Map<string, Promise<unknown>>();
  /** Mirrors that were used before: what is locked in them is locked by a git of ours. */
  const swept = new Set<string>();
  const exclusive = async <T>(path: string, signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> => {
    const before = queues.get(path) ?? Promise.resolve();
    let began = false;
    const mine = before.then(() => {
      if (signal?.aborted) throw new AgentError('INTERRUPTED', 'a fetch was interrupted');
      began = true;
      return work();
    });
    const settled = mine.then(
      () => undefined,
      () => undefined,
    );
    queues.set(path, settled);
    void settled.then(() => {
      if (queues.get(path) === settled) queues.delete(path);
    });
    // Who waits for another's fetch can leave at once; work that began is awaited.
    const left = Promise.withResolvers<never>();
    const leave = (): void => {
      if (!began) left.reject(new AgentError('INTERRUPTED', 'waiting for another fetch of the same repository was interrupted'));
    };
    signal?.addEventListener('abort', leave, { once: true });
    if (signal?.aborted) leave();
    try {
      return await Promise.race([mine, left.promise]);
    } finally {
      signal?.removeEventListener('abort', leave);
    }
  };
  const pathOf = (remote: GitUrl): string => join(directory, mirrorName(remote.url));

  const peel = async (remote: GitUrl, name: string, options: GitOptions): Promise<string | null> => {
    const path = pathOf(remote);
    if (!(await isDirectory(path))) return null;
    const call = {
      cwd: path,
      doing: 'looking for a commit of',
      remote,
      answers: [0, 1, 128],
      ...(options.signal ? { signal: options.signal } : {}),
    };
    const { stdout } = await runner.run(['rev-parse', '--verify', '--quiet', `${name}^{commit}`], call);
    const commit = stdout.trim();
    return isFullCommit(commit) ? commit : null;
  };

  /** Null when the server does not give it. */
  const fetch = async (remote: GitUrl, refspecs: readonly string[], options: GitOptions, optional: boolean): Promise<boolean> => {
    const server = runner.route(remote);
    try {
      await runner.run(
        [
          'fetch',
          '--progress',
          '--no-tags',
          '--prune',
          '--force',
          '--no-write-fetch-head',
          '--recurse-submodules=no',
          '--',
          server.url,
          ...refspecs,
        ],
        {
          cwd: pathOf(remote),
          doing: 'fetching',
          remote: server,
          ...options,
        },
      );
      return true;
    } catch (error) {
      if (optional && error instanceof AgentError && (error.code === 'COMMIT_NOT_FOUND' || error.code === 'BRANCH_NOT_FOUND')) return false;
      throw error;
    }
  };

  const find = async (remote: GitUrl, want: MirrorWant, options: GitOptions): Promise<string> => {
    const whole = isFullCommit(want.commit);
    const look = async (): Promise<string | null> => {
      const found = await peel(remote, want.commit, options);
      // A short commit may also be the name of a branch: only ids count.
      return found !== null && (whole || found.startsWith(want.commit)) ? found : null;
    };
    if (whole) {
      const known = await look();
      if (known !== null) {
        options.onCache?.(true);
        return known;
      }
    }
    options.onCache?.(false);
    const steps: (() => Promise<boolean>)[] = [];
    const { ref } = want;
    if (ref !== null) steps.push(() => fetch(remote, [`+${ref}:${ref}`], options, true));
    // Not every server gives a commit that no ref names; those that do spare the whole history.
    if (whole) steps.push(() => fetch(remote, [`+${want.commit}:refs/agent/${want.commit}`], options, true));
    steps.push(() => fetch(remote, ['+refs/heads/*:refs/heads/*', '+refs/tags/*:refs/tags/*'], options, false));
    for (const step of steps) {
      await step();
      const found = await look();
      if (found !== null) return found;
    }
    const candidates = whole ? [] : await ambiguous(remote, want.commit, options);
    const shown = redactUrl(remote.url);
    if (candidates.length > 1) {
      throw new AgentError(
        'COMMIT_NOT_FOUND',
        `${candidates.length} commits of ${shown} begin with ${want.commit}: ${candidates.slice(0, 5).join(', ')}`,
        { help: 'name the whole commit' },
      );
    }
    throw new AgentError('COMMIT_NOT_FOUND', `${shown} has no commit ${want.commit}`, { details: { url: shown, commit: want.commit } });
  };

  const ambiguous = async (remote: GitUrl, prefix: string, options: GitOptions): Promise<readonly string[]> => {
    const call = {
      cwd: pathOf(remote),
      doing: 'looking for a commit of',
      remote,
      answers: [0, 1, 128],
      ...(options.signal ? { signal: options.signal } : {}),
    };
    const { stdout } = await runner.run(['rev-list', '--all'], call);
    return stdout.split('\n').filter((commit) => commit.startsWith(prefix));
  };

  const withMirror: Mirrors['withMirror'] = (remote, options, use) =>
    exclusive(pathOf(remote), options.signal, async () => {
      const path = pathOf(remote);
      await mkdir(directory, { recursive: true });
      if (await isDirectory(path)) {
        if (!swept.has(path)) await removeLocks(path);
      } else {
        // HEAD names a branch that never is, so that a clone makes no local branch.
        await runner.run(['init', '--quiet', '--bare', '--initial-branch=comfylet-none', path], {
          cwd: directory,
          doing: 'making a mirror of',
          remote,
        });
      }
      swept.add(path);
      return use(path);
    });

  return {
    pathOf,
    withMirror,
    withCommit: (remote, want, options, use) => withMirror(remote, options, async (path) => use(path, await find(remote, want, options))),
    remove: (remote) => exclusive(pathOf(remote), undefined, () => rm(pathOf(remote), { recursive: true, force: true })),
  };
}

/** What a git left that was killed together with its agent: it would keep every later one from that ref. */
async function removeLocks(mirror: string): Promise<void> {
  const refs = await readdir(join(mirror, 'refs'), { recursive: true }).catch(() => []);
  const names = [...(await readdir(mirror)), ...refs.map((name) => join('refs', name))];
  for (const name of names) if (name.endsWith('.lock')) await rm(join(mirror, name), { force: true });
}

const isDirectory = (path: string): Promise<boolean> =>
  stat(path).then(
    (facts) => facts.isDirectory(),
    () => false,
  );
