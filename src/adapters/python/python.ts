/** Python environments with uv: the port `PythonEnvironments`. */
import { randomUUID } from 'node:crypto';
import { dirname } from 'node:path';
import { AgentError } from '../../domain/errors/errors.ts';
import { INPUT_LIMITS } from '../../domain/files/foreign.ts';
import { hashedLine, type LockedPackage, toLockedPackage } from '../../domain/installation/lock.ts';
import { locateRequirements } from '../../domain/installation/requirements.ts';
import type { Files } from '../../ports/files.ts';
import type { Logger } from '../../ports/logs.ts';
import type { LocalWheels, PythonEnvironments, PythonIndexes } from '../../ports/python.ts';
import type { CommandResult, Shell } from '../../ports/shell.ts';
import { createDownloader } from '../sources/download.ts';
import type { UvCall } from './uv/call.ts';
import { sourceArguments } from './uv/environment.ts';
import { type UvFailure, uvError } from './uv/errors.ts';
import { filesForUv, keptCommits, preferencesText, readSources, withRequestedUrl } from './uv/requirements.ts';
import { createUv } from './uv/uv.ts';
import {
  createPlainEnvironment,
  type Interpreter,
  installedOrigin,
  installedPackages,
  probeInterpreter,
  requireSupported,
} from './venv.ts';
import { buildWheels, interpreterWithPip } from './wheels.ts';

/** A connection to an index that is silent for this long is given up. */
const DOWNLOAD_SILENCE_MS = 30_000;
/** Lines of uv kept to explain a failure; its derivations can be long, and the end matters. */
const LINES_KEPT = 2_000;
/** As Python names them. */
const MACHINES: Readonly<Record<string, string>> = { x64: 'x86_64', arm64: 'aarch64' };
const NO_INDEXES: PythonIndexes = { indexUrl: null, extraIndexUrls: [], findLinks: [] };

export interface PythonEnvironmentsOptions {
  readonly shell: Shell;
  readonly files: Files;
  /** uv goes to `<cache>/uv`, what it downloads to `<cache>/uv-cache`. On the filesystem of the releases packages are hard links. */
  readonly cacheDirectory: string;
  /** The agent's environment; only what uv/environment.ts names is passed on. */
  readonly environment: Readonly<Record<string, string>>;
  /** Limit on each call of uv. */
  readonly timeoutMs: number;
  readonly log: Logger;
}

export function createPythonEnvironments(options: PythonEnvironmentsOptions): PythonEnvironments {
  const { files, cacheDirectory, environment, timeoutMs, log } = options;
  const downloader = createDownloader({ environment, timeoutMs: DOWNLOAD_SILENCE_MS, log });
  const uv = createUv({ ...options, downloader });

  /** Runs `work` with an empty directory of its own for the files that uv is handed. */
  const inWorkDirectory = async <T>(work: (directory: string) => Promise<T>): Promise<T> => {
    const directory = `${cacheDirectory}/tmp/python-${randomUUID()}`;
    await files.ensureDirectory(directory, 0o700);
    try {
      return await work(directory);
    } finally {
      await files.remove(directory);
    }
  };

  const runUv = async (
    args: readonly string[],
    call: Omit<UvCall, 'timeoutMs' | 'onLine'> &
      Pick<UvFailure, 'doing'> &
      Partial<Pick<UvFailure, 'sources' | 'names'>> & { readonly onLine?: (line: string) => void },
  ): Promise<CommandResult> => {
    const lines: string[] = [];
    const result = await uv.run(args, {
      ...call,
      timeoutMs,
      onLine: (line) => {
        lines.push(line);
        if (lines.length > LINES_KEPT) lines.shift();
        call.onLine?.(line);
      },
    });
    log.debug({ uv: args.slice(0, 2), exitCode: result.exitCode, ms: Math.round(result.durationMs) }, 'uv call');
    if (result.exitCode === 0) return result;
    const { doing, sources = [], names = [] } = call;
    throw uvError({ output: lines.join('\n') || result.tail, timedOut: result.timedOut, timeoutMs, doing, sources, names });
  };

  const createWithUv = async (
    directory: string,
    python: string,
    interpreter: string,
    allowPythonDownloads: boolean,
    signal?: AbortSignal,
  ): Promise<string> => {
    await files.ensureDirectory(dirname(directory));
    await runUv(['venv', '--no-project', '--clear', '--python', python, directory], {
      indexes: NO_INDEXES,
      interpreter,
      cwd: dirname(directory),
      allowPythonDownloads,
      doing: 'making the Python environment',
      ...(signal === undefined ? {} : { signal }),
    });
    return `${directory}/bin/python`;
  };

  /** @returns the interpreter that is of this version, or what was tried */
  const findVersion = async (
    interpreter: string,
    version: string,
    signal?: AbortSignal,
  ): Promise<{ found: Interpreter | null; tried: string[] }> => {
    const tried = [interpreter, `python${version.split('.').slice(0, 2).join('.')}`];
    for (const candidate of tried) {
      const found = await probeInterpreter(options, candidate, signal);
      if (found !== null && `${found.version}.`.startsWith(`${version}.`)) return { found, tried };
    }
    return { found: null, tried };
  };

  return {
    interpreterVersion: async (interpreter) => requireSupported(interpreter, await probeInterpreter(options, interpreter)).version,

    platform: () => `${process.platform}-${MACHINES[process.arch] ?? process.arch}`,

    create: async (directory, { interpreter, version, needsUv, signal }) => {
      if (version === null) {
        const found = requireSupported(interpreter, await probeInterpreter(options, interpreter, signal));
        return needsUv
          ? createWithUv(directory, found.executable, found.executable, false, signal)
          : createPlainEnvironment(options, directory, found, signal);
      }
      const { found, tried } = await findVersion(interpreter, version, signal);
      if (found !== null) {
        requireSupported(interpreter, found);
        return needsUv
          ? createWithUv(directory, found.executable, found.executable, false, signal)
          : createPlainEnvironment(options, directory, found, signal);
      }
      try {
        return await createWithUv(directory, version, interpreter, true, signal);
      } catch (error) {
        if (!(error instanceof AgentError) || error.code === 'INTERRUPTED' || error.code === 'DISK_FULL' || error.code === 'UV_UNAVAILABLE')
          throw error;
        throw new AgentError(
          'PYTHON_MISSING',
          `Python ${version} is not on this machine (tried ${tried.join(', ')}) and uv could not fetch it: ${error.message}`,
          {
            help: `install Python ${version}, or change python.version`,
            retryable: error.retryable,
            cause: error,
          },
        );
      }
    },

    resolve: (request) =>
      inWorkDirectory(async (work) => {
        const { python, requirements, constraints, preferences, torchBackend, signal, onLine } = request;
        // uv refuses to be called with nothing to resolve.
        if (requirements.length === 0) return [];
        const sources = await filesForUv(files, await readSources(files, requirements), work);
        // uv shortens paths below the directory it runs in, and messages are read by whole paths.
        const cwd = `${work}/cwd`;
        await files.ensureDirectory(cwd, 0o700);
        const [constraintsFile, overridesFile, resolution] = [`${work}/constraints.txt`, `${work}/overrides.txt`, `${work}/resolution.txt`];
        await files.writeText(constraintsFile, `${constraints.join('\n')}\n`, 0o600);
        const compile = async (overrides: readonly string[]): Promise<void> => {
          await files.writeText(overridesFile, `${overrides.join('\n')}\n`, 0o600);
          // uv keeps the versions that it finds in the file it is to write.
          await files.writeText(resolution, preferencesText(preferences), 0o600);
          const args = [
            ...['pip', 'compile', '--python', python, '--no-header', '--no-annotate', '--index-strategy', 'unsafe-best-match'],
            ...['--generate-hashes', '--output-file', resolution],
            ...(constraints.length === 0 ? [] : ['--constraints', constraintsFile, '--build-constraints', constraintsFile]),
            ...(overrides.length === 0 ? [] : ['--overrides', overridesFile]),
            ...sourceArguments(request, torchBackend),
            ...sources.map(({ fileForUv }) => fileForUv),
          ];
          await runUv(args, {
            indexes: request,
            interpreter: python,
            cwd,
            doing: 'resolving the requirements',
            sources,
            names: [
              [constraintsFile, 'the constraints'],
              [overridesFile, 'the overrides'],
            ],
            ...(signal === undefined ? {} : { signal }),
            onLine: (line) => {
              // It prints the resolution too: thousands of digests.
              if (!/^\s*--hash=|\\$/.test(line)) onLine?.(line);
            },
          });
        };
        const kept = keptCommits(preferences, sources, request.overrides);
        try {
          await compile([...request.overrides, ...kept]);
        } catch (error) {
          // A commit that is gone, or does not fit any more, is no reason to fail: what is there now is taken.
          if (!(error instanceof AgentError) || error.code !== 'REQUIREMENTS_UNRESOLVED') throw error;
          const explanation = String(error.details['explanation']);
          if (!kept.some((line) => explanation.includes(line.split(' ')[0] ?? line))) throw error;
          await compile(request.overrides);
        }
        // Whoever uv runs as can put something else there.
        return locateRequirements((await files.readForeign(resolution, { within: work, maxBytes: INPUT_LIMITS.record })) ?? '')
          .flatMap(({ line }) => toLockedPackage(line) ?? [])
          .map((locked) => withRequestedUrl(locked, sources));
      }),

    install: (request) =>
      inWorkDirectory(async (work) => {
        const { python, pins, constraints, torchBackend, signal, onLine } = request;
        const shared = { indexes: request, interpreter: python, cwd: work, ...(signal === undefined ? {} : { signal }) };
        if (pins.length === 0) return [];
        const [pinsFile, constraintsFile] = [`${work}/pins.txt`, `${work}/constraints.txt`];
        await files.writeText(pinsFile, `${pins.map((pin) => hashedLine(wheelFor(pin, request.wheels))).join('\n')}\n`, 0o600);
        await files.writeText(constraintsFile, `${constraints.join('\n')}\n`, 0o600);
        const args = [
          ...['pip', 'install', '--python', python, '--no-deps', '--index-strategy', 'unsafe-best-match', '--requirements', pinsFile],
          // What is built from source is built against the torch that is installed.
          ...(constraints.length === 0 ? [] : ['--build-constraints', constraintsFile]),
          ...sourceArguments(request, torchBackend),
        ];
        await runUv(args, {
          ...shared,
          doing: 'installing the packages',
          names: [[pinsFile, 'the pins']],
          ...(onLine === undefined ? {} : { onLine }),
        }).catch((error: unknown) => {
          // The pins were resolved before, so what does not fit now is the environment's fault.
          if (error instanceof AgentError && error.code === 'REQUIREMENTS_UNRESOLVED')
            throw new AgentError('ENVIRONMENT_FAILED', error.message, { details: error.details, cause: error });
          throw error;
        });
        return checkInstalled(await uv.run(['pip', 'check', '--python', python], { ...shared, timeoutMs }));
      }),

    collectWheels: (request) =>
      inWorkDirectory(async (work) => {
        const { python, signal } = request;
        const call = { indexes: request, interpreter: python, cwd: work, ...(signal === undefined ? {} : { signal }) };
        const withPip = await interpreterWithPip(options, python);
        if (withPip !== null) return buildWheels(options, withPip, work, request);
        await runUv(['venv', '--no-project', '--seed', '--python', python, `${work}/pip`], {
          ...call,
          doing: 'making an environment for pip',
        });
        return buildWheels(options, `${work}/pip/bin/python`, work, request);
      }),
    forgetIndexes: () => uv.forgetAnswers(),
    collectUv: ({ python, directory, signal, ...indexes }) =>
      uv.collect(directory, { indexes, interpreter: python, cwd: cacheDirectory, timeoutMs, ...(signal === undefined ? {} : { signal }) }),
    placeUv: (wheel) => uv.place(wheel),

    remove: async (python, names, { signal } = {}) => {
      if (names.length === 0) return;
      await runUv(['pip', 'uninstall', '--python', python, '--', ...names], {
        indexes: NO_INDEXES,
        interpreter: python,
        cwd: cacheDirectory,
        doing: 'removing packages',
        ...(signal === undefined ? {} : { signal }),
      });
    },

    origin: (python, name) => installedOrigin(options, python, name),
    packages: (python) => installedPackages(options, python),
  };
}

/** The wheel of an offline bundle in place of a pin; a pin that it has no wheel for stays. */
function wheelFor(pin: LockedPackage, wheels: LocalWheels | null | undefined): LockedPackage {
  const wheel = wheels?.packages.get(pin.name);
  return wheel === undefined ? pin : { ...pin, version: wheel.version, url: null, hashes: [`sha256:${wheel.sha256}`] };
}

/** One line for each unmet requirement: overrides make them on purpose, so they are told and not fatal. */
const checkInstalled = (result: CommandResult): string[] =>
  result.exitCode === 0
    ? []
    : result.tail.split('\n').flatMap((line) => {
        const match = /^The package `([^`]+)` requires `([^`]+)`, but (.+)$/.exec(line.trim());
        return match === null ? [] : [`${match[1]} requires ${match[2]}, but ${match[3]?.replaceAll('`', '')}`];
      });
