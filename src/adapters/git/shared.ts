/**
 * Brings a folder that may hold other files (models, outputs) to a commit, in place. Files that git does not track are
 * never touched, local work is never lost: what would be is found before anything is changed.
 */
import { mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { AgentError } from '../../domain/errors/errors.ts';
import { type GitUrl, redactUrl } from '../../domain/installation/git-url.ts';
import type { GitOptions } from '../../ports/git.ts';
import { readPlain } from '../files/foreign/plain-file.ts';
import { closeFiles } from './closed-files.ts';
import type { GitCall, GitRunner } from './command.ts';
import { isFullCommit } from './refs.ts';
import { compareWithDisk, parseIndex, parseTree, type TreeEntry } from './tree.ts';

/** git's name for the tree without files. */
const emptyTree = '4b825dc642cb6eb9a060e54bf8d69288fbee4904';
const listed = 10;

export interface SharedUpdate {
  readonly remote: GitUrl;
  readonly commit: string;
  /** Full name of the branch that the folder follows; null leaves HEAD detached. */
  readonly branch: string | null;
  readonly directory: string;
  /** `.git` in the folder, or elsewhere: then nothing that lies in the folder decides what git does. */
  readonly repository: string;
  /** Another user may write below the folder: what git puts at its top is for this one alone to write. */
  readonly closed: boolean;
  readonly mirror: string;
}

/**
 * @throws AgentError SHARED_REPOSITORY_DIRTY with up to ten paths; HELD when another git command is at work there
 */
export async function updateSharedFolder(runner: GitRunner, update: SharedUpdate, options: GitOptions): Promise<void> {
  const { directory, commit, remote, mirror, repository } = update;
  await mkdir(directory, { recursive: true });
  const call: GitCall = { cwd: directory, repository, doing: 'updating the shared folder from', remote, ...options };
  if (!(await exists(repository))) await adoptFormer(runner, update, call);
  const own = join(repository, 'comfylet-update');
  const cut = (await readFile(own, 'utf8').catch(() => null)) !== null;
  const fresh = !(await hasHead(runner, call));
  await refuseLocked(update, cut);

  const target = parseTree((await runner.run(['ls-tree', '-r', '-z', '-l', '--full-tree', commit], inMirror(call, mirror))).stdout);
  const index = fresh ? new Map<string, string>() : parseIndex((await runner.run(['ls-files', '--stage', '-z'], call)).stdout);
  const adopted = await findConflicts(runner, { directory, target, index, fresh, cut }, call);

  if (!(await exists(repository))) await init(runner, call);
  // Objects only: the folder's own branches are not touched before it is known that nothing is lost.
  await runner.run(
    ['fetch', '--progress', '--no-tags', '--no-write-fetch-head', '--recurse-submodules=no', '--', mirror, commit],
    localCall(call),
  );
  if (!fresh) await refuseLocalCommits(runner, update, call);
  if ((await runner.run(['config', '--get', 'remote.origin.url'], { ...call, answers: [0, 1] })).exitCode === 1) {
    await runner.run(['remote', 'add', 'origin', remote.url], call);
  }

  const head = fresh ? emptyTree : 'HEAD';
  await writeFile(own, `${commit}\n`);
  // A file that already is as the commit has it belongs to git from now on; the rest is a plain merge of two trees,
  // which refuses to overwrite anything that appeared in the meantime.
  if (adopted.length > 0)
    await runner.run(['update-index', '--add', '--remove', '-z', '--stdin'], {
      ...call,
      input: adopted.map((path) => `${path}\0`).join(''),
    });
  // What git remembers of times and inodes may be old (a restored backup, a copied folder); contents were compared above.
  if (!fresh) await runner.run(['update-index', '-q', '--refresh'], { ...call, answers: [0, 1] });
  await runner.run(['read-tree', '-m', '-u', head, commit], call);
  if (update.branch === null) {
    await runner.run(['update-ref', '--no-deref', '-m', 'agent: update', 'HEAD', commit], call);
  } else {
    await runner.run(['update-ref', '-m', 'agent: update', update.branch, commit], call);
    await runner.run(['symbolic-ref', '-m', 'agent: update', 'HEAD', update.branch], call);
    await runner.run(['update-ref', update.branch.replace('refs/heads/', 'refs/remotes/origin/'), commit], call);
  }
  await rm(own, { force: true });
  const changed = update.closed ? await closeFiles(directory, target) : [];
  if (changed.length > 0) throw dirty(directory, changed, `${changed.length} files changed by somebody else`);
}

const localCall = (call: GitCall): GitCall => {
  const { remote: _remote, ...local } = call;
  return local;
};

/** A call that reads the mirror. */
const inMirror = ({ repository: _repository, ...call }: GitCall, mirror: string): GitCall => ({ ...call, cwd: mirror });

async function init(runner: GitRunner, call: GitCall): Promise<void> {
  if (call.repository !== undefined) await mkdir(dirname(call.repository), { recursive: true });
  await runner.run(['init', '--quiet'], call);
}

/**
 * An agent of before kept the repository in the folder. Of that only the commit it stood at is taken, and only if the mirror has it:
 * what the commit holds is known then, whatever was done to the folder.
 */
async function adoptFormer(runner: GitRunner, { directory, repository, mirror, branch }: SharedUpdate, call: GitCall): Promise<void> {
  const former = join(directory, '.git');
  if (former === repository) return;
  const head = (await readPlain(join(former, 'HEAD'), 256))?.trim() ?? '';
  const ref = /^ref: (refs\/heads\/[\w./-]+)$/.exec(head)?.[1];
  const named = ref === undefined || ref.includes('..') ? head : ((await readPlain(join(former, ref), 256))?.trim() ?? '');
  if (!isFullCommit(named)) return;
  const known = await runner.run(['cat-file', '-e', `${named}^{commit}`], { ...inMirror(call, mirror), answers: [0, 1, 128] });
  if (known.exitCode !== 0) return;
  await init(runner, call);
  const fetch = ['fetch', '--no-tags', '--no-write-fetch-head', '--recurse-submodules=no', '--', mirror, named];
  await runner.run(fetch, localCall(call));
  await runner.run(['update-ref', '--no-deref', 'HEAD', named], call);
  if (branch !== null) await runner.run(['update-ref', branch, named], call);
  await runner.run(['read-tree', named], call);
}

async function hasHead(runner: GitRunner, call: GitCall): Promise<boolean> {
  if (call.repository === undefined || !(await exists(call.repository))) return false;
  return (await runner.run(['rev-parse', '--verify', '--quiet', 'HEAD^{commit}'], { ...call, answers: [0, 1] })).exitCode === 0;
}

/** @param cut an update of ours was cut off, so that the lock is its leftover */
async function refuseLocked({ directory, repository }: SharedUpdate, cut: boolean): Promise<void> {
  const lock = join(repository, 'index.lock');
  if (!(await exists(lock))) return;
  if (!cut)
    throw new AgentError('HELD', `another git command is at work in ${directory}, or was cut off: ${lock} is there`, {
      help: 'wait for it; if none is running, remove that file',
    });
  await rm(lock, { force: true });
}

interface Situation {
  readonly directory: string;
  readonly target: ReadonlyMap<string, TreeEntry>;
  /** Object id by path of what git tracks now. */
  readonly index: ReadonlyMap<string, string>;
  readonly fresh: boolean;
  readonly cut: boolean;
}

/** @returns paths that are on disk just as the commit has them, though git does not know it yet */
async function findConflicts(runner: GitRunner, situation: Situation, call: GitCall): Promise<readonly string[]> {
  const { target, index, directory, fresh, cut } = situation;
  const changed = new Set<string>();
  if (!fresh) {
    const { stdout } = await runner.run(
      ['status', '--porcelain=v1', '-z', '--untracked-files=no', '--no-renames', '--ignore-submodules=all'],
      call,
    );
    for (const entry of stdout.split('\0')) if (entry.length > 3) changed.add(entry.slice(3));
  }
  const adopted: string[] = [];
  const conflicts: string[] = [];
  for (const path of new Set([...changed, ...[...target.keys()].filter((path) => !index.has(path))])) {
    const wanted = target.get(path) ?? null;
    const disk = await compareWithDisk(directory, path, wanted);
    if (disk.state === 'same' || (wanted === null && disk.state === 'absent')) adopted.push(path);
    else if (disk.state === 'differs') conflicts.push(disk.path);
    // A tracked file that is gone was deleted by somebody, unless our own update was cut off between two steps.
    else if (changed.has(path) && !cut) conflicts.push(path);
  }
  if (conflicts.length > 0) {
    const paths = [...new Set(conflicts)].sort();
    throw dirty(directory, paths, `${paths.length} ${paths.length === 1 ? 'file' : 'files'} changed here or in the way`);
  }
  return adopted;
}

async function refuseLocalCommits(runner: GitRunner, update: SharedUpdate, call: GitCall): Promise<void> {
  const mine = ['HEAD'];
  if (update.branch !== null) {
    const known = await runner.run(['rev-parse', '--verify', '--quiet', update.branch], { ...call, answers: [0, 1] });
    if (known.exitCode === 0) mine.push(update.branch);
  }
  const { stdout } = await runner.run(['log', '--max-count=200', '--format=%h %s', ...mine, '--not', update.commit, '--remotes'], call);
  const commits = stdout.split('\n').filter((line) => line !== '');
  if (commits.length > 0)
    throw dirty(
      update.directory,
      commits,
      `${commits.length} ${commits.length === 1 ? 'commit' : 'commits'} that ${redactUrl(update.remote.url)} does not have`,
      'push them, or move the branch aside; nothing was touched',
    );
}

function dirty(directory: string, what: readonly string[], why: string, help?: string): AgentError {
  const shown = what.slice(0, listed);
  const more = what.length > shown.length ? ` and ${what.length - shown.length} more` : '';
  return new AgentError('SHARED_REPOSITORY_DIRTY', `${directory} has ${why}: ${shown.join(', ')}${more}`, {
    details: { paths: shown, count: what.length },
    ...(help === undefined ? {} : { help }),
  });
}

const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );
