/**
 * Work trees of releases. Objects come from the mirror by `git clone` of a path, which hard-links them: a work tree costs
 * no second copy and yet stays whole when the cache is deleted (as it would not with alternates: --shared, --reference).
 */
import { lstat, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { both } from '../../domain/both.ts';
import { AgentError } from '../../domain/errors/errors.ts';
import { type GitUrl, redactUrl } from '../../domain/installation/git-url.ts';
import type { GitCheckout, GitOptions } from '../../ports/git.ts';
import { type Building, beginTree, finishTree } from '../files/building.ts';
import { fullReason } from '../files/disk-full.ts';
import { recordTree, writeRecords } from '../sources/tree.ts';
import type { GitCall, GitRunner } from './command.ts';
import type { SubmoduleFacts } from './facts.ts';
import { fetchLfs, findLfsPointers, mayUseLfs } from './lfs.ts';

export interface CheckoutRequest {
  readonly remote: GitUrl;
  readonly branch: string | null;
  /** Must not exist. */
  readonly directory: string;
  /** Brings the submodules into the work tree; null leaves them empty. */
  readonly submodules: ((directory: string) => Promise<SubmoduleFacts>) | null;
  /** Git LFS pointers are replaced by what they stand for. */
  readonly lfs: boolean;
  readonly building: Building;
  /** Where it is noted what was put in place: nobody asks the tree's own repository later, which others can change. */
  readonly records: string;
}

/**
 * Writes a work tree where nobody else can write meanwhile, and puts it in its place when it is complete.
 * @param cloneObjects makes the repository without its files (cloneFromMirror, under the mirror's lock) and tells the commit
 */
export async function checkoutTree(
  runner: GitRunner,
  request: CheckoutRequest,
  options: GitOptions,
  cloneObjects: (directory: string) => Promise<string>,
): Promise<GitCheckout> {
  const { remote, directory, lfs } = request;
  if (await exists(directory))
    throw new AgentError('COMMAND_FAILED', `${directory} is already there`, { help: 'remove it or choose another place' });
  const unfinished = await beginTree(request.building, directory);
  try {
    const commit = await cloneObjects(unfinished);
    const call: GitCall = { cwd: unfinished, doing: 'checking out', remote, ...options };
    await nameOrigin(unfinished, remote);
    await runner.run(['checkout', '--progress', '--force', '--detach', commit], call);
    const facts = await describeTree(runner, unfinished, remote, options, await mayUseLfs(unfinished));
    if (facts.commit !== commit) {
      throw new AgentError('COMMIT_NOT_FOUND', `${redactUrl(remote.url)} gave ${facts.commit} in place of ${commit}`, {
        details: { url: redactUrl(remote.url), commit },
      });
    }
    const below = (await request.submodules?.(unfinished)) ?? { submodules: [], lfsPointers: [], warnings: [] };
    const own = lfs ? await fetchLfs(runner, unfinished, remote, facts.lfsPointers, options) : { ...facts, warnings: [] };
    if (options.signal?.aborted) throw new AgentError('INTERRUPTED', `checking out ${redactUrl(remote.url)} was interrupted`);
    const records = await recordTree(unfinished, options.signal);
    await finishTree(request.building, unfinished, directory);
    await writeRecords(request.records, directory, records);
    return {
      ...facts,
      branch: request.branch,
      submodules: below.submodules,
      lfsPointers: [...own.lfsPointers, ...below.lfsPointers],
      warnings: [...own.warnings, ...below.warnings],
    };
  } catch (error) {
    await rm(unfinished, { recursive: true, force: true, maxRetries: 3 });
    throw fileError(error);
  }
}

/** Hard links where mirror and work tree share a file system, copies otherwise. */
export async function cloneFromMirror(
  runner: GitRunner,
  mirror: string,
  directory: string,
  remote: GitUrl,
  options: GitOptions,
): Promise<void> {
  const call: GitCall = { cwd: dirname(directory), doing: 'checking out', ...options };
  // Without --local, which git takes for an order: it would fail across file systems instead of copying.
  await runner.run(['clone', '--no-checkout', '--progress', '--', mirror, directory], {
    ...call,
    ...(remote.transport === 'local' ? { remote } : {}),
  });
}

/**
 * What `git config remote.origin.url` does to a fresh clone, where git wrote the mirror's path. Without a process: each is a
 * fork of the whole agent, and an installation has many repositories.
 */
export async function nameOrigin(directory: string, remote: GitUrl): Promise<void> {
  const path = join(directory, '.git/config');
  const value = remote.url.replace(/[\\"]/g, '\\$&').replaceAll('\n', '\\n').replaceAll('\t', '\\t');
  const text = await readFile(path, 'utf8');
  await writeFile(
    path,
    text.replace(/^\turl = .*$/m, () => `\turl = "${value}"`),
  );
}

/**
 * HEAD, its date, and the LFS pointers of a work tree; submodules are another matter. `show` reads the tree of HEAD too, which
 * a checkout does not notice to be something else.
 * @param usesLfs false: it is known to have no pointers
 * @param repository where it is not in the work tree
 */
export async function describeTree(
  runner: GitRunner,
  directory: string,
  remote: GitUrl,
  options: GitOptions,
  usesLfs = true,
  repository?: string,
): Promise<Omit<GitCheckout, 'branch'>> {
  const call: GitCall = {
    cwd: directory,
    doing: 'reading the work tree of',
    remote,
    ...(repository === undefined ? {} : { repository }),
    ...(options.signal ? { signal: options.signal } : {}),
  };
  const [shown, pointers] = await both(
    runner.run(['show', '--no-patch', '--format=%H%n%cI', 'HEAD'], call),
    usesLfs ? findLfsPointers(runner, call) : Promise.resolve([]),
  );
  const [commit = '', commitDate = ''] = shown.stdout.split('\n');
  return { commit, commitDate: commitDate === '' ? null : commitDate, submodules: [], lfsPointers: pointers, warnings: [] };
}

/** A fault of the file system, with the codes users know. */
export function fileError(error: unknown): unknown {
  const { code, path } = error as NodeJS.ErrnoException;
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    const why = path === undefined ? 'the disk is full' : fullReason(path);
    return new AgentError('DISK_FULL', `a work tree cannot be written: ${why}`, { cause: error });
  }
  if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS')
    return new AgentError('ROOT_NOT_WRITABLE', `a work tree cannot be written: ${(error as Error).message}`, { cause: error });
  return error;
}

export const exists = (path: string): Promise<boolean> =>
  lstat(path).then(
    () => true,
    () => false,
  );
