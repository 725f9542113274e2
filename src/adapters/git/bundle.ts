/** Git bundles: the history of locked commits in one file, out of a mirror and into one. */
import { AgentError, isAgentError } from '../../domain/errors/errors.ts';
import { type GitUrl, redactUrl } from '../../domain/installation/git-url.ts';
import type { GitOptions } from '../../ports/git.ts';
import type { GitRunner } from './command.ts';
import type { Mirrors } from './mirror.ts';

/** As the mirror names a commit that is pinned. */
const refOf = (commit: string): string => `refs/agent/${commit}`;

/** @throws AgentError COMMIT_NOT_FOUND, REPOSITORY_UNREACHABLE for what neither the mirror nor the remote has */
export async function createGitBundle(
  { runner, mirrors }: { readonly runner: GitRunner; readonly mirrors: Mirrors },
  remote: GitUrl,
  commits: readonly string[],
  file: string,
  options: GitOptions,
): Promise<void> {
  for (const [index, commit] of commits.entries()) {
    await mirrors.withCommit(remote, { commit, ref: null }, options, async (mirror) => {
      const call = { cwd: mirror, doing: 'bundling', remote, ...options };
      // A bundle names what it holds by refs.
      await runner.run(['update-ref', refOf(commit), commit], call);
      if (index === commits.length - 1) await runner.run(['bundle', 'create', '--progress', file, ...commits.map(refOf)], call);
    });
  }
}

/** @throws AgentError BUNDLE_INVALID */
export async function importGitBundle(
  { runner, mirrors }: { readonly runner: GitRunner; readonly mirrors: Mirrors },
  remote: GitUrl,
  commits: readonly string[],
  file: string,
  options: GitOptions,
): Promise<void> {
  const refspecs = commits.map((commit) => `+${refOf(commit)}:${refOf(commit)}`);
  await mirrors.withMirror(remote, options, async (mirror) => {
    // The file counts as a remote of this machine.
    const local: GitUrl = { ...remote, url: file, transport: 'local', credentials: null, scope: null };
    const call = { cwd: mirror, doing: 'reading the bundle of', remote: local, ...options };
    try {
      await runner.run(
        ['fetch', '--progress', '--no-tags', '--no-write-fetch-head', '--recurse-submodules=no', '--', file, ...refspecs],
        call,
      );
    } catch (error) {
      if (isAgentError(error) && (error.code === 'INTERRUPTED' || error.code === 'DISK_FULL')) throw error;
      throw new AgentError('BUNDLE_INVALID', `the git bundle of ${redactUrl(remote.url)} cannot be read: ${(error as Error).message}`, {
        cause: error,
      });
    }
    for (const commit of commits) {
      const { stdout } = await runner.run(['rev-parse', '--verify', '--quiet', `${refOf(commit)}^{commit}`], {
        ...call,
        answers: [0, 1, 128],
      });
      if (stdout.trim() !== commit)
        throw new AgentError('BUNDLE_INVALID', `the git bundle of ${redactUrl(remote.url)} does not hold commit ${commit}`);
    }
  });
}
