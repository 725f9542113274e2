import { access, mkdir, mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createGit, type GitAdapter, type GitAdapterOptions } from '../../../src/adapters/git/git.ts';
import { addedFiles, changedFiles } from '../../../src/adapters/sources/tree.ts';
import type { Git } from '../../../src/ports/git.ts';
import type { Logger } from '../../../src/ports/logs.ts';
import type { Sources } from '../../../src/ports/sources.ts';
import { createFakeGit, type FakeCommit, type FakeGitOptions, type FakeRepository, fakeCommitId } from '../../fakes/git.ts';
import { createFakeSources, type FakeSourcesOptions } from '../../fakes/sources.ts';
import { createOrigin } from './origin.ts';

interface HarnessOrigin {
  readonly url: string;
  commit(files: Readonly<Record<string, string | null>>, branch?: string): Promise<string>;
  submodule(path: string, url: string): Promise<string>;
  annotatedTag(name: string, commit: string): Promise<void>;
}

/** What the contract suite needs of either implementation. */
export interface GitHarness {
  readonly root: string;
  readonly git: Git;
  /** What the agent notes of trees. */
  readonly sources: Pick<Sources, 'changed' | 'untracked'>;
  origin(name: string): Promise<HarnessOrigin>;
  /** Another machine, that no origin can be reached from once it was asked for. */
  unplugged(): Promise<Git>;
  close(): Promise<void>;
}

const silent: Logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {}, child: () => silent };

/** A real adapter in its own directories below `root`. */
export const realGit = (root: string, change: Partial<GitAdapterOptions> = {}): GitAdapter =>
  createGit({
    cacheDirectory: join(root, 'cache', 'git'),
    stateDirectory: join(root, 'state', 'git'),
    recordsDirectory: join(root, 'state', 'trees'),
    environment: { PATH: process.env['PATH'] ?? '/usr/bin:/bin' },
    ssh: { knownHosts: '' },
    timeoutMs: 60_000,
    log: silent,
    ...change,
  });

/** What `realGit` of that directory noted. */
export const notedBelow = (root: string): GitHarness['sources'] => ({
  changed: (directory) => changedFiles(join(root, 'state', 'trees'), directory),
  untracked: (directory) => addedFiles(join(root, 'state', 'trees'), directory),
});

export async function realGitHarness(): Promise<GitHarness> {
  const root = await mkdtemp(join(tmpdir(), 'agent-git-'));
  const git = realGit(root);
  return {
    root,
    git,
    sources: notedBelow(root),
    origin: (name) => createOrigin(join(root, 'origins', name)),
    unplugged: async () => {
      await rename(join(root, 'origins'), join(root, 'moved-away'));
      return realGit(join(root, 'elsewhere'));
    },
    close: async () => {
      await git.close();
      await rm(root, { recursive: true, force: true });
    },
  };
}

export async function fakeGitHarness(): Promise<GitHarness> {
  const root = await mkdtemp(join(tmpdir(), 'agent-git-fake-'));
  const repositories: Record<string, FakeRepository> = {};
  let count = 0;
  return {
    root,
    git: createFakeGit({ repositories, files: diskFiles }),
    sources: createFakeSources({ files: diskFiles, archives: {}, registry: {} }),
    unplugged: async () => createFakeGit({ repositories: {}, files: diskFiles }),
    origin: async (name) => {
      const repository = {
        branches: {} as Record<string, string>,
        tags: {} as Record<string, string>,
        commits: {} as Record<string, FakeCommit>,
      };
      const url = `file://${root}/${name}`;
      repositories[url] = repository;
      const save = (branch: string, change: (previous: FakeCommit) => FakeCommit): string => {
        const id = fakeCommitId(`${name} ${++count}`);
        const previous = repository.commits[repository.branches[branch] ?? repository.branches['main'] ?? ''] ?? { files: {} };
        repository.commits[id] = change(previous);
        repository.branches[branch] = id;
        return id;
      };
      return {
        url,
        commit: async (files, branch = 'main') =>
          save(branch, (previous) => {
            const next: Record<string, string> = { ...previous.files };
            for (const [path, content] of Object.entries(files)) {
              if (content === null) delete next[path];
              else next[path] = content;
            }
            return { ...previous, files: next };
          }),
        submodule: async (path, of) => {
          const commit = repositories[of]?.branches['main'] ?? '';
          return save('main', (previous) => ({ ...previous, submodules: { ...previous.submodules, [path]: { url: of, commit } } }));
        },
        annotatedTag: async (tag, commit) => {
          repository.tags[tag] = commit;
        },
      };
    },
    close: () => rm(root, { recursive: true, force: true }),
  };
}

const there = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );

const diskFiles: FakeGitOptions['files'] & FakeSourcesOptions['files'] = {
  readText: (path) => readFile(path, 'utf8').catch(() => null),
  writeText: async (path, content) => {
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, content);
  },
  exists: there,
  isDirectory: (path) =>
    stat(path).then(
      (facts) => facts.isDirectory(),
      () => false,
    ),
  list: (directory) => readdir(directory),
  ensureDirectory: async (path) => void (await mkdir(path, { recursive: true })),
  remove: (path) => rm(path, { recursive: true, force: true }),
  move: async (from, to) => {
    await mkdir(dirname(to), { recursive: true });
    await rename(from, to);
  },
};
