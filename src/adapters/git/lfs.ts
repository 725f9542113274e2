/** Files that git keeps as pointers and Git LFS as objects: found always, fetched when asked. */
import { lstat, open, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { AgentError } from '../../domain/errors/errors.ts';
import { type GitUrl, redactUrl } from '../../domain/installation/git-url.ts';
import type { GitOptions } from '../../ports/git.ts';
import type { GitCall, GitRunner } from './command.ts';

/** A Git LFS pointer file is smaller than this (its specification). */
const lfsPointerBytes = 1024;
const lfsPointerStart = 'version https://git-lfs.github.com/spec/v1';

export interface LfsFacts {
  /** Still pointers. */
  readonly lfsPointers: readonly string[];
  readonly warnings: readonly string[];
}

/** Whether any .gitattributes of a fresh work tree speaks of LFS. Only such a tree need be asked for its files. */
export async function mayUseLfs(directory: string): Promise<boolean> {
  for (const entry of await readdir(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name);
    // git follows no link to one either.
    if (entry.name === '.gitattributes' && entry.isFile() && (await readFile(path, 'latin1')).includes('lfs')) return true;
    if (entry.isDirectory() && entry.name !== '.git' && (await mayUseLfs(path))) return true;
  }
  return false;
}

/** Files of one work tree, without its submodules, that .gitattributes gives to LFS and that still are pointers. */
export async function findLfsPointers(runner: GitRunner, call: GitCall): Promise<readonly string[]> {
  const { stdout } = await runner.run(['ls-files', '-z', '--', ':(attr:filter=lfs)'], call);
  const found: string[] = [];
  for (const path of stdout.split('\0')) if (path !== '' && (await isLfsPointer(join(call.cwd, path)))) found.push(path);
  return found;
}

/**
 * Replaces the pointers of one work tree by git-lfs. What cannot be fetched is a warning: the work tree is whole as far
 * as git goes.
 * @param remote as named; its mirror is asked in its place
 */
export async function fetchLfs(
  runner: GitRunner,
  directory: string,
  remote: GitUrl,
  pointers: readonly string[],
  options: GitOptions,
): Promise<LfsFacts> {
  if (pointers.length === 0) return { lfsPointers: [], warnings: [] };
  const call: GitCall = { cwd: directory, doing: 'fetching the Git LFS files of', remote, ...options };
  const { exitCode } = await runner.run(['lfs', 'version'], { ...call, answers: [0, 1, 127, 128] });
  const left = (why: string): LfsFacts => ({ lfsPointers: pointers, warnings: [`its Git LFS files were not fetched: ${why}`] });
  if (exitCode !== 0) return left('the program git-lfs is not installed (install git-lfs)');
  try {
    // For this work tree, so that whoever compares files later has them cleaned; no hooks.
    await runner.run(['lfs', 'install', '--local', '--skip-repo'], call);
    await runner.run(['config', 'filter.lfs.required', 'false'], call);
    // In the work tree's own configuration: a repository on this machine that is asked has a storage of its own.
    await runner.run(['config', 'lfs.storage', runner.lfsDirectory], call);
    await runner.run(['lfs', 'pull'], { ...call, remote: runner.route(remote), lfsOf: remote });
  } catch (error) {
    if (!(error instanceof AgentError) || error.code === 'INTERRUPTED' || error.code === 'DISK_FULL') throw error;
    return left(error.message);
  }
  const lfsPointers = await findLfsPointers(runner, { ...call, doing: 'reading the work tree of' });
  return {
    lfsPointers,
    warnings: lfsPointers.length === 0 ? [] : [`${redactUrl(remote.url)} did not give ${lfsPointers.length} of its Git LFS files`],
  };
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
