/**
 * Work trees of releases. Objects come from the mirror by `git clone --local`, which hard-links them: a work tree costs
 * no second copy and yet stays whole when the cache is deleted (as it would not with alternates: --shared, --reference).
 */
import { lstat, mkdir, open, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { AgentError } from '../domain/errors.ts';
import { type GitUrl, redactUrl } from '../domain/git-url.ts';
import type { GitCheckout, GitOptions } from '../ports.ts';
import type { GitCall, GitRunner } from './git-command.ts';

/** Submodules fetched side by side within one work tree. */
const submoduleJobs = 4;
/** A Git LFS pointer file is smaller than this (its specification). */
const lfsPointerBytes = 1024;
const lfsPointerStart = 'version https://git-lfs.github.com/spec/v1';

export interface CheckoutRequest {
  readonly remote: GitUrl;
  readonly branch: string | null;
  /** Must not exist. */
  readonly directory: string;
  readonly recursive: boolean;
}

/**
 * Writes a work tree beside its place and renames it there when it is complete.
 * @param cloneObjects makes the repository without its files (cloneFromMirror, under the mirror's lock) and tells the commit
 */
export async function checkoutTree(
  runner: GitRunner,
  request: CheckoutRequest,
  options: GitOptions,
  cloneObjects: (directory: string) => Promise<string>,
): Promise<GitCheckout> {
  const { remote, directory } = request;
  if (await exists(directory))
    throw new AgentError('COMMAND_FAILED', `${directory} is already there`, { help: 'remove it or choose another place' });
  const unfinished = join(dirname(directory), `.${basename(directory)}.partial`);
  await mkdir(dirname(directory), { recursive: true });
  // Left by an agent that was killed.
  await rm(unfinished, { recursive: true, force: true });
  try {
    const commit = await cloneObjects(unfinished);
    const call: GitCall = { cwd: unfinished, doing: 'checking out', remote, ...options };
    await both(
      runner.run(['config', 'remote.origin.url', remote.url], call),
      runner.run(['checkout', '--progress', '--force', '--detach', commit], call),
    );
    if (request.recursive && (await exists(join(unfinished, '.gitmodules')))) {
      await runner.run(['submodule', 'update', '--init', '--recursive', '--force', '--progress', '--jobs', String(submoduleJobs)], {
        ...call,
        doing: 'fetching the submodules of',
      });
    }
    const facts = await describeTree(runner, unfinished, remote, options);
    if (facts.commit !== commit) {
      throw new AgentError('COMMIT_NOT_FOUND', `${redactUrl(remote.url)} gave ${facts.commit} in place of ${commit}`, {
        details: { url: redactUrl(remote.url), commit },
      });
    }
    if (options.signal?.aborted) throw new AgentError('INTERRUPTED', `checking out ${redactUrl(remote.url)} was interrupted`);
    await rename(unfinished, directory);
    return { ...facts, branch: request.branch };
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
  await runner.run(['clone', '--local', '--no-checkout', '--progress', '--', mirror, directory], {
    ...call,
    ...(remote.transport === 'local' ? { remote } : {}),
  });
}

/** HEAD, its date, and the LFS pointers of a work tree and its submodules. */
export async function describeTree(
  runner: GitRunner,
  directory: string,
  remote: GitUrl,
  options: GitOptions,
): Promise<Omit<GitCheckout, 'branch'>> {
  const call: GitCall = {
    cwd: directory,
    doing: 'reading the work tree of',
    remote,
    ...(options.signal ? { signal: options.signal } : {}),
  };
  const [shown, pointers] = await both(
    runner.run(['show', '--no-patch', '--format=%H%n%cI', 'HEAD'], call),
    lfsPointers(runner, directory, call),
  );
  const [commit = '', commitDate = ''] = shown.stdout.split('\n');
  return { commit, commitDate: commitDate === '' ? null : commitDate, submodules: [], lfsPointers: pointers };
}

/** Files that .gitattributes gives to LFS and that still are pointers. */
async function lfsPointers(runner: GitRunner, directory: string, call: GitCall): Promise<readonly string[]> {
  const roots = [''];
  if (await exists(join(directory, '.gitmodules'))) {
    const { stdout } = await runner.run(['submodule', 'status', '--recursive'], call);
    // " <commit> path (describe)"; one that was not fetched begins with "-".
    for (const line of stdout.split('\n')) {
      const path = /^[ +U][0-9a-f]+ (.*?)(?: \([^()]*\))?$/.exec(line)?.[1];
      if (path !== undefined) roots.push(`${path}/`);
    }
  }
  const found: string[] = [];
  for (const root of roots) {
    const { stdout } = await runner.run(['ls-files', '-z', '--', ':(attr:filter=lfs)'], { ...call, cwd: join(directory, root) });
    for (const path of stdout.split('\0')) if (path !== '' && (await isLfsPointer(join(directory, root, path)))) found.push(root + path);
  }
  return found;
}

async function isLfsPointer(path: string): Promise<boolean> {
  const facts = await lstat(path).catch(() => null);
  if (facts === null || !facts.isFile() || facts.size >= lfsPointerBytes) return false;
  const file = await open(path, 'r');
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(lfsPointerStart.length), 0, lfsPointerStart.length, 0);
    return buffer.toString('latin1', 0, bytesRead) === lfsPointerStart;
  } finally {
    await file.close();
  }
}

/** Both at once, and neither still at work when one has failed. */
async function both<A, B>(first: Promise<A>, second: Promise<B>): Promise<readonly [A, B]> {
  await Promise.allSettled([first, second]);
  return Promise.all([first, second]);
}

/** A fault of the file system, with the codes users know. */
export function fileError(error: unknown): unknown {
  const code = (error as NodeJS.ErrnoException).code;
  if (code === 'ENOSPC' || code === 'EDQUOT')
    return new AgentError('DISK_FULL', 'no space left on the disk while writing a work tree', { cause: error });
  if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS')
    return new AgentError('ROOT_NOT_WRITABLE', `a work tree cannot be written: ${(error as Error).message}`, { cause: error });
  return error;
}

export const exists = (path: string): Promise<boolean> =>
  lstat(path).then(
    () => true,
    () => false,
  );
