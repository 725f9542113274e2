/** Runs git, one process tree for each call, through simple-git. The only importer of that package. */
import { randomUUID } from 'node:crypto';
import { realpath } from 'node:fs/promises';
import { AgentError } from '../../domain/errors/errors.ts';
import type { GitUrl } from '../../domain/installation/git-url.ts';
import { redactUrl } from '../../domain/installation/git-url.ts';
import type { GitOptions } from '../../ports/git.ts';
import type { Logger } from '../../ports/logs.ts';
import { endMarked } from '../shell/marked-processes.ts';
import { type GitEnvironmentFiles, gitEnvironment, markerName, secretsOf } from './environment.ts';
import { gitError } from './errors.ts';
import { progressReader } from './progress.ts';

/** Output kept of one call; a server that sends more is cut off. */
const maxOutputBytes = 64 * 1024 * 1024;

// simple-git refuses whatever could make git run a program. These are the ones this adapter sets itself, all of them to
// constants or to "none" (environment.ts).
const allowed = {
  allowUnsafeAskPass: true,
  allowUnsafeConfigEnvCount: true,
  allowUnsafeConfigPaths: true,
  allowUnsafeCredentialHelper: true,
  allowUnsafeFsMonitor: true,
  allowUnsafeHooksPath: true,
  allowUnsafeSshCommand: true,
  allowUnsafeTemplateDir: true,
  allowUnsafeUrlRewrite: true,
} as const;

export interface GitCall extends GitOptions {
  readonly cwd: string;
  /** The repository of the work tree `cwd`, where it is not in it: nothing that lies in the work tree configures git then. */
  readonly repository?: string;
  /** What is being done, "fetching": for messages. */
  readonly doing: string;
  /** The remote that is spoken to or whose work tree this is. */
  readonly remote?: GitUrl;
  readonly input?: string;
  /** A call of git-lfs for this remote, as named before any rewriting. */
  readonly lfsOf?: GitUrl;
  /** Exit codes that are answers; default 0. Others reject. */
  readonly answers?: readonly number[];
}

interface GitAnswer {
  readonly exitCode: number;
  readonly stdout: string;
}

export interface GitRunner {
  /** The URL to speak to in place of the one named (install.gitMirror). */
  route(remote: GitUrl): GitUrl;
  /** Where all repositories keep their Git LFS objects. */
  readonly lfsDirectory: string;
  /** @throws AgentError as errors.ts maps it; INTERRUPTED on abort; REPOSITORY_UNREACHABLE when git fell silent */
  run(args: readonly string[], call: GitCall): Promise<GitAnswer>;
}

export interface GitRunnerOptions {
  /** The agent's environment; only what environment.ts names is passed on. */
  readonly environment: Readonly<Record<string, string>>;
  readonly files: () => Promise<GitEnvironmentFiles>;
  /** A call without output for this long is given up. */
  readonly timeoutMs: number;
  readonly gitPath: string;
  readonly route: (remote: GitUrl) => GitUrl;
  /** Objects of Git LFS, for all repositories. */
  readonly lfsDirectory: string;
  /** Put into the environment of every call. */
  readonly mark?: Readonly<Record<string, string>>;
  readonly log: Logger;
}

export function createGitRunner(options: GitRunnerOptions): GitRunner {
  const run = async (args: readonly string[], call: GitCall): Promise<GitAnswer> => {
    const { signal, remote } = call;
    if (signal?.aborted) throw interrupted(call);
    const files = await options.files();
    // Without links, or GIT_CEILING_DIRECTORIES would not be a parent of where git finds itself.
    const cwd = await realpath(call.cwd).catch((error: unknown) => {
      throw new AgentError('COMMAND_FAILED', `the directory ${call.cwd} is not there`, { cause: error });
    });
    const { simpleGit } = await import('simple-git');
    const marker = randomUUID();
    const environment = {
      ...gitEnvironment(options.environment, files, {
        cwd,
        marker,
        ...(remote ? { remote } : {}),
        ...(call.lfsOf ? { lfsOf: call.lfsOf } : {}),
        ...(call.repository ? { repository: call.repository } : {}),
      }),
      ...options.mark,
    };
    const startedAt = performance.now();

    let stopped: 'aborted' | 'silent' | 'flooded' | null = null;
    let ending: Promise<void> | null = null;
    const stop = (why: 'aborted' | 'silent' | 'flooded'): void => {
      stopped ??= why;
      ending ??= endMarked(markerName, marker);
    };
    const onAbort = (): void => stop('aborted');
    signal?.addEventListener('abort', onAbort, { once: true });
    const silence = setTimeout(() => stop('silent'), options.timeoutMs);
    let received = 0;
    const heard = (chunk: Buffer): void => {
      silence.refresh();
      received += chunk.length;
      if (received > maxOutputBytes) stop('flooded');
    };

    let exitCode: number | null = null;
    let stderr = '';
    let refused: unknown = null;
    const git = simpleGit({
      baseDir: cwd,
      binary: options.gitPath,
      maxConcurrentProcesses: 1,
      // Wait for the end of the output, not only of the process.
      completion: { onClose: true, onExit: false },
      allowEnvironment: Object.keys(environment),
      unsafe: { ...allowed, allowUnsafeCustomBinary: options.gitPath !== 'git' },
      // simple-git would take a git that a signal ended for one that succeeded: judge by the exit code here.
      errors: (error, result) => {
        exitCode = result.exitCode;
        stderr = Buffer.concat(result.stdErr).toString('utf8');
        return error !== undefined && 'plugin' in error ? error : undefined;
      },
      ...(call.input === undefined ? {} : { input: () => call.input }),
    })
      .env(environment)
      .outputHandler((_command, standardOutput, standardError) => {
        const report = call.onProgress === undefined ? null : progressReader(call.onProgress);
        standardOutput.on('data', heard);
        standardError.on('data', (chunk: Buffer) => {
          heard(chunk);
          report?.(chunk.toString('utf8'));
        });
        // Stopped while the process was being made: there is something to end only now.
        if (stopped !== null) ending = endMarked(markerName, marker);
      });
    let stdout = '';
    try {
      stdout = await git.raw([...args]);
    } catch (error) {
      refused = error;
    } finally {
      clearTimeout(silence);
      signal?.removeEventListener('abort', onAbort);
      await ending;
    }
    options.log.debug({ git: args.slice(0, 2), cwd, exitCode, ms: Math.round(performance.now() - startedAt) }, 'git call');

    const url = remote?.url ?? null;
    if (stopped === 'aborted') throw interrupted(call);
    if (stopped === 'silent') {
      throw new AgentError(
        'REPOSITORY_UNREACHABLE',
        `git said nothing for ${Math.round(options.timeoutMs / 1000)} s while ${call.doing} ${url === null ? 'a repository' : redactUrl(url)}`,
        {
          details: { silentMs: options.timeoutMs, ...(url === null ? {} : { url: redactUrl(url) }) },
        },
      );
    }
    if (stopped === 'flooded')
      throw new AgentError(
        'COMMAND_FAILED',
        `git sent more than ${maxOutputBytes} bytes of output while ${call.doing} ${url === null ? 'a repository' : redactUrl(url)}`,
      );
    if (refused !== null)
      throw new AgentError('INTERNAL', `git was not run: ${refused instanceof Error ? refused.message : String(refused)}`);
    if (exitCode !== null && (call.answers ?? [0]).includes(exitCode)) return { exitCode, stdout };
    throw gitError({ stderr, exitCode, doing: call.doing, url, insteadOf: remote?.insteadOf ?? null, secrets: secretsOf(remote) });
  };
  return { run, route: options.route, lfsDirectory: options.lfsDirectory };
}

const interrupted = (call: GitCall): AgentError =>
  new AgentError('INTERRUPTED', `${call.doing} ${call.remote === undefined ? 'a repository' : redactUrl(call.remote.url)} was interrupted`);
