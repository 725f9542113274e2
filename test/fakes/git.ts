import { createHash } from 'node:crypto';
import { AgentError } from '../../src/domain/errors/errors.ts';
import { redactUrl } from '../../src/domain/installation/git-url.ts';
import type { LockedSubmodule } from '../../src/domain/installation/lock.ts';
import type { Files } from '../../src/ports/files.ts';
import type { Git, GitOptions, GitSource } from '../../src/ports/git.ts';
import { FAKE_RECORD } from './sources.ts';

export interface FakeCommit {
  readonly files: Readonly<Record<string, string>>;
  readonly submodules?: Readonly<Record<string, { readonly url: string; readonly commit: string }>>;
  readonly date?: string;
}

export interface FakeRepository {
  /** Default main. */
  readonly defaultBranch?: string;
  readonly branches: Record<string, string>;
  readonly tags?: Record<string, string>;
  /** By whole commit id. */
  readonly commits: Record<string, FakeCommit>;
}

export interface FakeGitOptions {
  /** By URL; add, change and delete at will. */
  readonly repositories: Record<string, FakeRepository>;
  /** Work trees are written here. */
  readonly files: Pick<Files, 'readText' | 'writeText' | 'exists' | 'ensureDirectory' | 'remove' | 'move'>;
  /** Called before each operation: hold it by a promise, or throw. */
  readonly before?: (operation: 'resolve' | 'checkout' | 'updateInPlace', source: GitSource) => void | Promise<void>;
}

/** A commit id for a name, as long as a real one. */
export const fakeCommitId = (name: string): string => createHash('sha1').update(name).digest('hex');

interface WorkTree {
  readonly url: string;
  readonly commit: string;
}

/** Git in memory. A work tree is marked by `.git/fake.json`; histories are not modelled. */
export function createFakeGit(options: FakeGitOptions): Git {
  const { files, repositories } = options;
  const mirrored = new Map<string, FakeRepository>();
  const fetched = new Set<string>();

  const begin = async (operation: 'resolve' | 'checkout' | 'updateInPlace', source: GitSource, call: GitOptions): Promise<void> => {
    await options.before?.(operation, source);
    if (call.signal?.aborted) throw new AgentError('INTERRUPTED', `${operation} of ${redactUrl(source.url)} was interrupted`);
  };
  const repositoryOf = (url: string): FakeRepository => {
    const repository = repositories[url];
    if (repository === undefined) throw new AgentError('REPOSITORY_NOT_FOUND', `there is no git repository at ${redactUrl(url)}`);
    return repository;
  };
  const commitOf = (url: string, commit: string): FakeCommit => {
    const found = mirrored.get(url)?.commits[commit] ?? repositoryOf(url).commits[commit];
    if (found === undefined) throw new AgentError('COMMIT_NOT_FOUND', `${redactUrl(url)} has no commit ${commit}`);
    return found;
  };
  const locate = (source: GitSource): { commit: string; branch: string | null } => {
    const shown = redactUrl(source.url);
    if (source.commit !== null) {
      const wanted = source.commit.toLowerCase();
      if (mirrored.get(source.url)?.commits[wanted] !== undefined) return { commit: wanted, branch: source.branch };
      const repository = repositoryOf(source.url);
      const found = /^[0-9a-f]{4,}$/.test(wanted) ? Object.keys(repository.commits).filter((commit) => commit.startsWith(wanted)) : [];
      if (found.length !== 1) throw new AgentError('COMMIT_NOT_FOUND', `${shown} has no commit ${source.commit}`);
      mirrored.set(source.url, { ...repository, commits: { ...repository.commits } });
      return { commit: found[0] ?? '', branch: source.branch };
    }
    const repository = repositoryOf(source.url);
    const branch = source.branch ?? repository.defaultBranch ?? 'main';
    const commit = repository.branches[branch] ?? repository.tags?.[branch];
    if (commit === undefined) {
      const nearest = [...Object.keys(repository.branches), ...Object.keys(repository.tags ?? {})].slice(0, 5);
      throw new AgentError(
        'BRANCH_NOT_FOUND',
        `${shown} has no branch or tag "${branch}"; it has ${nearest.map((name) => `"${name}"`).join(', ')}`,
        { details: { branch, nearest } },
      );
    }
    return { commit, branch };
  };
  const treeOf = (url: string, commit: string, recursive: boolean): Record<string, string> => {
    const { files: own, submodules = {} } = commitOf(url, commit);
    const tree: Record<string, string> = { ...own };
    if (!recursive) return tree;
    for (const [path, submodule] of Object.entries(submodules)) {
      for (const [name, content] of Object.entries(treeOf(submodule.url, submodule.commit, true))) tree[`${path}/${name}`] = content;
    }
    return tree;
  };
  const marker = (directory: string): string => `${directory}/.git/fake.json`;
  const workTree = async (directory: string): Promise<(WorkTree & { tracked: Record<string, string> }) | null> => {
    const text = await files.readText(marker(directory));
    return text === null ? null : (JSON.parse(text) as WorkTree & { tracked: Record<string, string> });
  };
  const submodulesOf = (url: string, commit: string, prefix: string): LockedSubmodule[] =>
    Object.entries(commitOf(url, commit).submodules ?? {})
      .flatMap(([path, submodule]) => [
        { path: `${prefix}${path}`, url: redactUrl(submodule.url), commit: submodule.commit },
        ...submodulesOf(submodule.url, submodule.commit, `${prefix}${path}/`),
      ])
      .sort((a, b) => (a.path < b.path ? -1 : 1));
  const describe = (
    source: GitSource,
    commit: string,
    branch: string | null,
    tree: Record<string, string>,
    { recursive = false, lfs = false } = {},
  ) => ({
    commit,
    branch,
    commitDate: commitOf(source.url, commit).date ?? '2026-11-20T10:00:00+00:00',
    submodules: recursive ? submodulesOf(source.url, commit, '') : [],
    lfsPointers: lfs ? [] : Object.keys(tree).filter((path) => tree[path]?.startsWith('version https://git-lfs.github.com/spec/v1')),
    warnings: [],
  });

  return {
    version: async () => '2.50.0',
    resolve: async (source, call = {}) => {
      await begin('resolve', source, call);
      return locate(source);
    },
    checkout: async (source, directory, { recursive, lfs = false, ...call }) => {
      if (await files.exists(directory)) throw new AgentError('COMMAND_FAILED', `${directory} is already there`);
      await begin('checkout', source, call);
      const { commit, branch } = locate(source);
      call.onCache?.(fetched.has(`${source.url} ${commit}`));
      fetched.add(`${source.url} ${commit}`);
      const tree = treeOf(source.url, commit, recursive);
      call.onProgress?.({ stage: 'receiving objects', fraction: 1, bytes: JSON.stringify(tree).length });
      const unfinished = `${directory.slice(0, directory.lastIndexOf('/'))}/.${directory.slice(directory.lastIndexOf('/') + 1)}.partial`;
      for (const [path, content] of Object.entries(tree)) await files.writeText(`${unfinished}/${path}`, content);
      await files.writeText(marker(unfinished), JSON.stringify({ url: source.url, commit, tracked: tree }));
      await files.writeText(`${unfinished}/${FAKE_RECORD}`, JSON.stringify(tree));
      await files.move(unfinished, directory);
      return describe(source, commit, branch, tree, { recursive, lfs });
    },
    updateInPlace: async (source, directory, call = {}) => {
      await begin('updateInPlace', source, call);
      const { commit, branch } = locate(source);
      const tree = treeOf(source.url, commit, false);
      const tracked = (await workTree(directory))?.tracked ?? {};
      const conflicts: string[] = [];
      for (const path of new Set([...Object.keys(tree), ...Object.keys(tracked)])) {
        const there = await files.readText(`${directory}/${path}`);
        if (there !== (tracked[path] ?? null) && there !== (tree[path] ?? null)) conflicts.push(path);
      }
      if (conflicts.length > 0) {
        const paths = conflicts.sort().slice(0, 10);
        throw new AgentError('SHARED_REPOSITORY_DIRTY', `${directory} has files changed here or in the way: ${paths.join(', ')}`, {
          details: { paths, count: conflicts.length },
        });
      }
      for (const path of Object.keys(tracked)) if (tree[path] === undefined) await files.remove(`${directory}/${path}`);
      for (const [path, content] of Object.entries(tree)) await files.writeText(`${directory}/${path}`, content);
      await files.writeText(marker(directory), JSON.stringify({ url: source.url, commit, tracked: tree }));
      return describe(source, commit, branch, tree);
    },
    createBundle: async (url, commits, file) => {
      const held = Object.fromEntries(commits.map((commit) => [commit, commitOf(url, commit)]));
      await files.writeText(file, JSON.stringify({ commits: held }));
    },
    importBundle: async (url, commits, file) => {
      const text = (await files.readText(file)) ?? '';
      const read = (): { readonly commits: FakeRepository['commits'] } | null => {
        try {
          return JSON.parse(text) as { readonly commits: FakeRepository['commits'] };
        } catch {
          return null;
        }
      };
      const bundle = read();
      if (bundle === null) throw new AgentError('BUNDLE_INVALID', `the git bundle of ${redactUrl(url)} cannot be read`);
      const missing = commits.find((commit) => bundle.commits[commit] === undefined);
      if (missing !== undefined)
        throw new AgentError('BUNDLE_INVALID', `the git bundle of ${redactUrl(url)} does not hold commit ${missing}`);
      const before = mirrored.get(url) ?? { branches: {}, commits: {} };
      mirrored.set(url, { ...before, commits: { ...before.commits, ...bundle.commits } });
    },
  };
}
