/** The Git port: resolves, mirrors and checks out repositories. See environment.ts for why it is hermetic. */
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { AgentError } from '../../domain/errors/errors.ts';
import { type GitUrl, parseGitUrl, redactUrl, rewriteGitUrl } from '../../domain/installation/git-url.ts';
import type { Files } from '../../ports/files.ts';
import type { Git, GitOptions, GitSource } from '../../ports/git.ts';
import type { Logger } from '../../ports/logs.ts';
import { BESIDE, type Building } from '../files/building.ts';
import { createGitBundle, importGitBundle } from './bundle.ts';
import { checkoutTree, cloneFromMirror, describeTree, fileError } from './checkout.ts';
import { createGitRunner } from './command.ts';
import type { GitEnvironmentFiles } from './environment.ts';
import { isDamage } from './errors.ts';
import { createMirrors, mirrorName } from './mirror.ts';
import { branchNotFound, isCommitPrefix, isFullCommit, isRefName, parseRemoteRefs } from './refs.ts';
import { updateSharedFolder } from './shared.ts';
import { createSshSetup, type SshOptions, writePrivate } from './ssh.ts';
import { fetchSubmodules } from './submodules.ts';

export interface GitAdapterOptions {
  /** `<root>/cache/git`; may be deleted at any time. */
  readonly cacheDirectory: string;
  /** `<state>/git`, made 0700: configuration and key for git and ssh. */
  readonly stateDirectory: string;
  /** The agent's environment; PATH, proxies and certificate settings are passed on, nothing else. */
  readonly environment: Readonly<Record<string, string>>;
  readonly ssh: SshOptions;
  /** URL prefix -> URL prefix spoken to in its place (install.gitMirror); asked for every call. */
  readonly gitMirror?: () => Readonly<Record<string, string>>;
  /** A transfer without any output for this long is given up (install.gitTimeoutMs). */
  readonly timeoutMs: number;
  /** Where it is noted what was put in which place. Only the agent may write there. */
  readonly recordsDirectory: string;
  readonly gitPath?: string;
  /** With another user who may write to work trees; null: there is none, and a work tree is as good as the agent's own. */
  readonly divided?: {
    /** Below it trees are made, and the repository of the shared folder is kept. Only the agent may enter. */
    readonly closed: string;
    readonly files: Pick<Files, 'ensureDirectory' | 'move'>;
  } | null;
  /** Put into the environment of every git, so that those which outlive this process can be found. */
  readonly mark?: Readonly<Record<string, string>>;
  readonly log: Logger;
}

export interface GitAdapter extends Git {
  /** Removes the SSH key that was written from text. */
  close(): Promise<void>;
}

/** Where GIT_CONFIG_GLOBAL and the rest of what is used here came to git. */
const oldestVersion = [2, 32] as const;

interface Resolved {
  readonly commit: string;
  readonly branch: string | null;
  /** Full name of the ref to fetch; null when a commit was named. */
  readonly ref: string | null;
}

export function createGit(options: GitAdapterOptions): GitAdapter {
  const { divided = null } = options;
  const building: Building = divided === null ? BESIDE : { directory: join(divided.closed, 'trees'), files: divided.files };
  const ssh = createSshSetup(join(options.stateDirectory, 'ssh'), options.ssh);
  const files = async (): Promise<GitEnvironmentFiles> => {
    const home = join(options.stateDirectory, 'home');
    const globalConfig = join(options.stateDirectory, 'config');
    await mkdir(options.stateDirectory, { recursive: true, mode: 0o700 });
    await mkdir(home, { recursive: true, mode: 0o700 });
    // Every directory that git is sent to was named by the operator; whom it belongs to says nothing on network volumes.
    // With another user who can write there it says everything: its configuration could name programs to run.
    const content = divided !== null ? '[core]\n\tsharedRepository = 0644\n' : '[safe]\n\tdirectory = *\n';
    if ((await readFile(globalConfig, 'utf8').catch(() => null)) !== content) await writePrivate(globalConfig, content);
    return { home, globalConfig, sshConfig: (await ssh.prepare()).configFile };
  };
  const common = {
    environment: options.environment,
    timeoutMs: options.timeoutMs,
    route: (remote: GitUrl) => rewriteGitUrl(remote, options.gitMirror?.() ?? {}),
    lfsDirectory: join(options.cacheDirectory, 'lfs'),
    ...(options.mark === undefined ? {} : { mark: options.mark }),
    log: options.log,
  };
  const runner = createGitRunner({ ...common, files, gitPath: options.gitPath ?? 'git' });
  const mirrors = createMirrors(options.cacheDirectory, runner);

  let version: Promise<string> | null = null;
  const checkedVersion = (): Promise<string> => {
    version ??= readVersion();
    // A git that was missing may be installed later.
    version.catch(() => {
      version = null;
    });
    return version;
  };
  const readVersion = async (): Promise<string> => {
    const { stdout } = await runner.run(['version'], { cwd: await quietPlace(), doing: 'asking the version of' });
    const found = /(?<!\d)(\d+)\.(\d+)[\w.]*/.exec(stdout);
    const [major, minor] = [Number(found?.[1] ?? 0), Number(found?.[2] ?? 0)];
    if (major < oldestVersion[0] || (major === oldestVersion[0] && minor < oldestVersion[1])) {
      throw new AgentError('GIT_MISSING', `git ${found?.[0] ?? stdout.trim()} is too old`, {
        help: `install git ${oldestVersion.join('.')} or newer`,
      });
    }
    return found?.[0] ?? stdout.trim();
  };
  /** A directory that is in no repository. */
  const quietPlace = async (): Promise<string> => (await files()).home;

  /** Of a folder that another user may write to: elsewhere, so that nothing in the folder decides what git does. */
  const repositoryOf = (directory: string): string =>
    divided === null ? join(directory, '.git') : join(divided.closed, 'folders', mirrorName(directory));

  const open = async (url: string): Promise<GitUrl> => {
    const remote = parseGitUrl(url);
    await checkedVersion();
    const { problem } = await ssh.prepare();
    if (problem !== null) {
      if (runner.route(remote).transport === 'ssh') throw problem;
      options.log.debug({ code: problem.code }, 'no usable SSH key: only needed for SSH remotes');
    }
    return remote;
  };

  /** Tries once more with a new mirror when local objects turned out to be broken. */
  const repaired = async <T>(remote: GitUrl, work: () => Promise<T>): Promise<T> => {
    const attempt = (): Promise<T> =>
      work().catch((error: unknown) => {
        throw fileError(error);
      });
    try {
      return await attempt();
    } catch (error) {
      if (!isDamage(error)) throw error;
      options.log.warn({ url: redactUrl(remote.url), reason: (error as Error).message }, 'the git mirror is damaged and is made anew');
      await mirrors.remove(remote);
      return attempt();
    }
  };

  const listRemote = async (named: GitUrl, patterns: readonly string[], call: GitOptions) => {
    const remote = runner.route(named);
    return parseRemoteRefs(
      (
        await runner.run(['ls-remote', '--symref', '--', remote.url, ...patterns], {
          cwd: await quietPlace(),
          doing: 'asking',
          remote,
          ...call,
        })
      ).stdout,
    );
  };

  const resolveRef = async (remote: GitUrl, branch: string | null, call: GitOptions): Promise<Resolved> => {
    const shown = redactUrl(remote.url);
    if (branch === null) {
      const { head, headCommit } = await listRemote(remote, ['HEAD'], call);
      if (headCommit === null)
        throw new AgentError(
          'BRANCH_NOT_FOUND',
          `${shown} has no default branch: it is empty, or its HEAD names a branch that does not exist`,
          { help: 'name a branch' },
        );
      return { commit: headCommit, branch: head?.replace('refs/heads/', '') ?? null, ref: head };
    }
    if (!isRefName(branch)) throw new AgentError('BRANCH_NOT_FOUND', `${JSON.stringify(branch)} cannot be the name of a branch or tag`);
    const [head, tag] = [`refs/heads/${branch}`, `refs/tags/${branch}`];
    const { refs } = await listRemote(remote, [head, tag, `${tag}^{}`], call);
    const found = refs.find(({ name }) => name === head) ?? refs.find(({ name }) => name === tag);
    if (found !== undefined) return { commit: found.commit, branch, ref: found.name };
    const existing = await listRemote(remote, ['refs/heads/*', 'refs/tags/*'], call);
    throw branchNotFound(
      branch,
      shown,
      existing.refs.map(({ name }) => name.replace(/^refs\/(heads|tags)\//, '')),
    );
  };

  /** What to have; a short commit stays short until it is fetched. */
  const locate = async (source: GitSource, remote: GitUrl, call: GitOptions): Promise<Resolved> => {
    if (source.commit === null) return resolveRef(remote, source.branch, call);
    const commit = source.commit.toLowerCase();
    if (!isCommitPrefix(commit)) {
      throw new AgentError('COMMIT_NOT_FOUND', `${JSON.stringify(source.commit)} is not a commit id`, {
        help: 'give 4 to 40 hexadecimal digits; a branch or tag goes under branch',
      });
    }
    if (source.branch !== null && !isRefName(source.branch))
      throw new AgentError('BRANCH_NOT_FOUND', `${JSON.stringify(source.branch)} cannot be the name of a branch or tag`);
    return { commit, branch: source.branch, ref: source.branch === null || isFullCommit(commit) ? null : `refs/heads/${source.branch}` };
  };

  return {
    version: checkedVersion,
    close: () => ssh.close(),

    resolve: async (source, call = {}) => {
      const remote = await open(source.url);
      return repaired(remote, async () => {
        const found = await locate(source, remote, call);
        const commit =
          source.commit === null ? found.commit : await mirrors.withCommit(remote, found, call, async (_mirror, whole) => whole);
        return { commit, branch: found.branch };
      });
    },

    checkout: async (source, directory, { recursive, lfs = false, ...call }) => {
      const remote = await open(source.url);
      return repaired(remote, async () => {
        const found = await locate(source, remote, call);
        const submodules = recursive
          ? (place: string) => fetchSubmodules({ runner, mirrors, repaired }, { remote, directory: place, lfs }, call)
          : null;
        return checkoutTree(
          runner,
          { remote, branch: found.branch, directory, submodules, lfs, building, records: options.recordsDirectory },
          call,
          (place) =>
            mirrors.withCommit(remote, found, call, async (mirror, commit) => {
              await cloneFromMirror(runner, mirror, place, remote, call);
              return commit;
            }),
        );
      });
    },

    updateInPlace: async (source, directory, call = {}) => {
      const remote = await open(source.url);
      return repaired(remote, async () => {
        const found = await locate(source, remote, call);
        const branch = source.commit === null && found.ref?.startsWith('refs/heads/') ? found.ref : null;
        await mirrors.withCommit(remote, found, call, (mirror, commit) =>
          updateSharedFolder(
            runner,
            { remote, commit, branch, directory, repository: repositoryOf(directory), closed: call.closed === true, mirror },
            call,
          ),
        );
        return { ...(await describeTree(runner, directory, remote, call, true, repositoryOf(directory))), branch: found.branch };
      });
    },

    createBundle: async (url, commits, file, call = {}) => {
      const remote = await open(url);
      await repaired(remote, () => createGitBundle({ runner, mirrors }, remote, commits, file, call));
    },
    importBundle: async (url, commits, file, call = {}) => {
      // Not opened as a remote: nobody is asked, so no key is needed.
      const remote = parseGitUrl(url);
      await checkedVersion();
      await repaired(remote, () => importGitBundle({ runner, mirrors }, remote, commits, file, call));
    },
  };
}
