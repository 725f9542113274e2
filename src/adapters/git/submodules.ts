import { lstat, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { AgentError } from '../../domain/errors/errors.ts';
import { type GitUrl, redactUrl } from '../../domain/installation/git-url.ts';
import type { LockedSubmodule } from '../../domain/installation/lock.ts';
import type { GitOptions } from '../../ports/git.ts';
import { cloneFromMirror, describeTree, exists, nameOrigin } from './checkout.ts';
import type { GitCall, GitRunner } from './command.ts';
import type { SubmoduleFacts } from './facts.ts';
import { fetchLfs } from './lfs.ts';
import type { Mirrors } from './mirror.ts';
import { checkModule, parseModules, refusedSubmodule, submoduleUrl } from './modules.ts';
import { parseTree } from './tree.ts';

/**
 * Submodules of a work tree, of all depths. Each one's objects come from the mirror of its own URL, so that a second
 * release fetches nothing; the work tree holds a plain clone of it, whose HEAD is the commit that the superproject names.
 * git's own `submodule` command is not used: it would fetch by itself, without mirrors, and run what .gitmodules says.
 */

/** Fetched side by side within one work tree. */
const atOnce = 4;
/** More than any honest repository has; a cycle of submodules ends here. */
const maxDepth = 8;
const maxSubmodules = 256;

export interface SubmoduleTools {
  readonly runner: GitRunner;
  readonly mirrors: Mirrors;
  /** Tries once more with a new mirror when local objects turned out to be broken. */
  readonly repaired: <T>(remote: GitUrl, work: () => Promise<T>) => Promise<T>;
}

interface Level {
  readonly remote: GitUrl;
  /** Work tree whose submodules are fetched. */
  readonly directory: string;
  /** Its path below the outermost work tree with a slash, or empty. */
  readonly prefix: string;
  readonly depth: number;
}

interface Wanted {
  readonly path: string;
  readonly commit: string;
  readonly remote: GitUrl;
}

/** @throws AgentError SOURCE_REFUSED, or why a submodule cannot be had, naming it */
export async function fetchSubmodules(
  tools: SubmoduleTools,
  root: { readonly remote: GitUrl; readonly directory: string; readonly lfs: boolean },
  options: GitOptions,
): Promise<SubmoduleFacts> {
  const submodules: LockedSubmodule[] = [];
  const lfsPointers: string[] = [];
  const warnings: string[] = [];
  const slot = limiter(atOnce);
  const stop = new AbortController();
  const call: GitOptions = { ...options, signal: options.signal ? AbortSignal.any([options.signal, stop.signal]) : stop.signal };
  const failures: unknown[] = [];
  let count = 0;

  const one = async (level: Level, wanted: Wanted): Promise<void> => {
    const path = `${level.prefix}${wanted.path}`;
    const directory = join(level.directory, wanted.path);
    await slot(async () => {
      await tools.repaired(wanted.remote, () => cloneAt(tools, wanted, directory, call));
      const facts = await describeTree(tools.runner, directory, wanted.remote, call);
      if (facts.commit !== wanted.commit)
        throw new AgentError('COMMIT_NOT_FOUND', `${redactUrl(wanted.remote.url)} gave ${facts.commit} in place of ${wanted.commit}`);
      const lfs = root.lfs ? await fetchLfs(tools.runner, directory, wanted.remote, facts.lfsPointers, call) : facts;
      submodules.push({ path, url: redactUrl(wanted.remote.url), commit: wanted.commit });
      lfsPointers.push(...lfs.lfsPointers.map((pointer) => `${path}/${pointer}`));
      warnings.push(...lfs.warnings.map((warning) => `${path}: ${warning}`));
    });
    await below({ remote: wanted.remote, directory, prefix: `${path}/`, depth: level.depth + 1 });
  };

  const below = async (level: Level): Promise<void> => {
    const wanted = await listSubmodules(tools.runner, level, warnings, call);
    if (wanted.length === 0) return;
    if (level.depth >= maxDepth) throw refusedSubmodule(level.remote, level.prefix, `submodules lie more than ${maxDepth} deep`);
    // So that git's own submodule command knows them, for whoever looks in there.
    const paths = wanted.map(({ path }) => path);
    await tools.runner.run(['--literal-pathspecs', 'submodule', '--quiet', 'init', '--', ...paths], {
      cwd: level.directory,
      doing: 'registering the submodules of',
      remote: level.remote,
      ...quiet(call),
    });
    count += wanted.length;
    if (count > maxSubmodules) throw refusedSubmodule(level.remote, level.prefix, `there are more than ${maxSubmodules} submodules`);
    await Promise.all(
      wanted.map((each) =>
        one(level, each).catch((error: unknown) => {
          failures.push(named(error, `${level.prefix}${each.path}`, each.remote));
          stop.abort();
        }),
      ),
    );
  };

  await below({ remote: root.remote, directory: root.directory, prefix: '', depth: 0 });
  if (failures.length > 0) throw failures[0];
  const byPath = (a: LockedSubmodule, b: LockedSubmodule): number => (a.path < b.path ? -1 : 1);
  return { submodules: submodules.sort(byPath), lfsPointers: lfsPointers.sort(), warnings: warnings.sort() };
}

async function listSubmodules(runner: GitRunner, level: Level, warnings: string[], options: GitOptions): Promise<readonly Wanted[]> {
  const { remote, directory } = level;
  if (!(await exists(join(directory, '.gitmodules')))) return [];
  const call: GitCall = { cwd: directory, doing: 'reading the submodules of', remote, ...quiet(options) };
  const { stdout } = await runner.run(['ls-tree', '-r', '-z', '-l', '--full-tree', 'HEAD'], call);
  const tree = parseTree(stdout);
  const links = [...tree].filter(([, entry]) => entry.mode === '160000');
  if (links.length === 0) return [];
  if (!/^1006/.test(tree.get('.gitmodules')?.mode ?? '')) throw refusedSubmodule(remote, '.gitmodules', 'the file is no plain file');
  const listed = await runner.run(['config', '--null', '--list', '--blob', 'HEAD:.gitmodules'], { ...call, answers: [0, 1, 128] });
  if (listed.exitCode !== 0) throw refusedSubmodule(remote, '.gitmodules', 'the file cannot be read');
  const modules = parseModules(listed.stdout);
  return links.flatMap(([path, { id }]) => {
    const entry = modules.find((module) => module.path === path);
    // Left by a directory that was committed by mistake; whoever clones the repository has none either.
    if (entry === undefined || entry.url === null || entry.url === '' || entry.update === 'none') {
      warnings.push(`${level.prefix}${path} is a submodule without a repository in .gitmodules and stays empty`);
      return [];
    }
    checkModule(remote, path, entry);
    return [{ path, commit: id, remote: submoduleUrl(remote, path, entry.url) }];
  });
}

async function cloneAt(tools: SubmoduleTools, wanted: Wanted, directory: string, options: GitOptions): Promise<void> {
  const { runner, mirrors } = tools;
  const { remote, commit } = wanted;
  await plainParents(remote, wanted.path, directory);
  // The empty directory that the superproject's checkout made, or what an earlier attempt left.
  await rm(directory, { recursive: true, force: true });
  await mirrors.withCommit(remote, { commit, ref: null }, options, (mirror) => cloneFromMirror(runner, mirror, directory, remote, options));
  const call: GitCall = { cwd: directory, doing: 'checking out', remote, ...options };
  await nameOrigin(directory, remote);
  await runner.run(['checkout', '--progress', '--force', '--detach', commit], call);
}

/** git does not write through links either; a file system that ignores case could still put one in the way. */
async function plainParents(remote: GitUrl, path: string, directory: string): Promise<void> {
  const parts = path.split('/');
  const root = directory.slice(0, directory.length - path.length - 1);
  for (let depth = 1; depth <= parts.length; depth++) {
    const facts = await lstat(join(root, ...parts.slice(0, depth))).catch(() => null);
    if (facts === null && depth === parts.length) return;
    if (facts === null || !facts.isDirectory()) throw refusedSubmodule(remote, path, 'a link or file is in its way');
  }
}

/** Only reading: no progress. */
const quiet = ({ signal }: GitOptions): GitOptions => (signal === undefined ? {} : { signal });

/** The same error, in which the submodule is named. Its mirror was already repaired: the superproject's is not to blame. */
function named(error: unknown, path: string, remote: GitUrl): unknown {
  if (!(error instanceof AgentError) || error.code === 'INTERRUPTED' || error.message.startsWith('submodule ')) return error;
  const { damaged: _damaged, ...details } = error.details;
  const { help, retryable } = error;
  return new AgentError(error.code, `submodule ${path} (${redactUrl(remote.url)}): ${error.message}`, {
    help,
    retryable,
    details: { ...details, submodule: path },
    cause: error,
  });
}

/** Runs what it is given, at most `limit` at a time. */
function limiter(limit: number): <T>(work: () => Promise<T>) => Promise<T> {
  let free = limit;
  const waiting: (() => void)[] = [];
  return async (work) => {
    if (free > 0) free -= 1;
    else await new Promise<void>((resolve) => waiting.push(resolve));
    try {
      return await work();
    } finally {
      const next = waiting.shift();
      if (next === undefined) free += 1;
      else next();
    }
  };
}
