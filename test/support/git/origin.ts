import { execFile } from 'node:child_process';
import { chmod, mkdir, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';

const execute = promisify(execFile);

/** Runs git for a test's own repositories, untouched by the configuration of whoever runs the tests. */
export async function gitFor(directory: string, args: readonly string[]): Promise<string> {
  const { stdout } = await execute('git', [...args], {
    cwd: directory,
    env: {
      PATH: process.env['PATH'] ?? '/usr/bin:/bin',
      HOME: '/nonexistent',
      LANG: 'C',
      GIT_CONFIG_NOSYSTEM: '1',
      GIT_AUTHOR_NAME: 'Test',
      GIT_AUTHOR_EMAIL: 'test@example.org',
      GIT_COMMITTER_NAME: 'Test',
      GIT_COMMITTER_EMAIL: 'test@example.org',
      GIT_AUTHOR_DATE: '2026-11-20T10:00:00+00:00',
      GIT_COMMITTER_DATE: '2026-11-20T10:00:00+00:00',
    },
    maxBuffer: 32 * 1024 * 1024,
  });
  return stdout.trim();
}

export interface Origin {
  readonly directory: string;
  readonly url: string;
  /** Commits these files on a branch (null removes one) and gives the commit. `link:` contents become symlinks. */
  commit(files: Readonly<Record<string, string | null>>, branch?: string): Promise<string>;
  /** Adds a submodule at its repository's present head. */
  submodule(path: string, url: string): Promise<string>;
  annotatedTag(name: string, commit: string): Promise<void>;
}

/** A repository with a work tree that others clone from, default branch main. */
export async function createOrigin(directory: string): Promise<Origin> {
  await mkdir(directory, { recursive: true });
  const git = (...args: string[]): Promise<string> => gitFor(directory, ['-c', 'protocol.file.allow=always', ...args]);
  await git('init', '--quiet', '--initial-branch=main');
  const save = async (): Promise<string> => {
    await git('add', '--all', '--force');
    await git('commit', '--quiet', '--allow-empty', '--message=change');
    return git('rev-parse', 'HEAD');
  };
  return {
    directory,
    url: `file://${directory}`,
    commit: async (files, branch = 'main') => {
      if ((await git('symbolic-ref', '--short', 'HEAD')) !== branch) {
        const known = await git('rev-parse', '--verify', '--quiet', `refs/heads/${branch}`).then(
          () => true,
          () => false,
        );
        await git('checkout', '--quiet', ...(known ? [branch] : ['-b', branch]));
      }
      for (const [path, content] of Object.entries(files)) {
        const place = join(directory, path);
        await mkdir(dirname(place), { recursive: true });
        await rm(place, { recursive: true, force: true });
        if (content === null) continue;
        if (content.startsWith('link:')) await symlink(content.slice('link:'.length), place);
        else await writeFile(place, content);
        if (content.startsWith('#!')) await chmod(place, 0o755);
      }
      return save();
    },
    submodule: async (path, url) => {
      await git('submodule', '--quiet', 'add', url, path);
      return save();
    },
    annotatedTag: async (name, commit) => {
      await git('tag', '--annotate', '--message=tag', name, commit);
    },
  };
}
