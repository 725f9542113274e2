import { randomUUID } from 'node:crypto';
import { copyFile } from 'node:fs/promises';
import { AgentError, asAgentError } from '../../../domain/errors/errors.ts';
import { redactUrls } from '../../../domain/installation/requirements.ts';
import { digestOf } from '../../../domain/text/digest.ts';
import type { PythonIndexes } from '../../../ports/python.ts';
import type { CommandResult } from '../../../ports/shell.ts';
import type { UvCall, UvOptions } from './call.ts';
import { pythonEnvironment, uvEnvironment } from './environment.ts';
import { fetchUv, unavailable } from './fetch.ts';
import { uvIndexes } from './indexes.ts';
import { extractZipEntry, UV_PROGRAM, UV_VERSION, UV_WHEELS } from './wheel.ts';

/** uv: the one on this machine, else the pinned wheel, kept in the cache. */

/** First version whose --torch-backend knows cu130; an older one on PATH is passed over. */
const OLDEST_UV = [0, 9, 0] as const;
const SHORT_MS = 30_000;
/** uv's name for the part of its cache that holds pages of projects. */
const ANSWERS = /^simple-v\d+$/;

export interface Uv {
  /** Runs uv; a failure of uv itself is a value. @throws AgentError UV_UNAVAILABLE, INTERRUPTED */
  run(args: readonly string[], call: UvCall): Promise<CommandResult>;
  /** What indexes said about projects is asked anew by the next call. */
  forgetAnswers(): Promise<void>;
  /** Puts the pinned wheel into the directory. @returns its name. @throws AgentError UV_UNAVAILABLE, INTERRUPTED */
  collect(directory: string, call: UvCall): Promise<string>;
  /** Takes uv from its wheel where this machine has none. @throws AgentError UV_UNAVAILABLE when it is not the pinned wheel */
  place(wheel: string): Promise<void>;
}

export function createUv(options: UvOptions): Uv {
  const { shell, files, cacheDirectory, environment, log } = options;
  let program: Promise<string> | null = null;
  let pipIndex: Promise<string | null> | null = null;

  const isConfigured = (indexes: PythonIndexes): boolean =>
    indexes.indexUrl !== null ||
    environment['UV_DEFAULT_INDEX'] !== undefined ||
    environment['UV_INDEX_URL'] !== undefined ||
    environment['PIP_INDEX_URL'] !== undefined;

  /** `index-url` of pip's own configuration: where this machine is told to get packages. */
  const indexOfPip = (interpreter: string): Promise<string | null> => {
    pipIndex ??= shell
      .run(interpreter, ['-m', 'pip', 'config', 'get', 'global.index-url'], {
        environment: pythonEnvironment(environment),
        timeoutMs: SHORT_MS,
      })
      .then((result) => (result.exitCode === 0 && /^https?:\S+$/.test(result.stdout.trim()) ? result.stdout.trim() : null))
      .catch(() => null);
    return pipIndex;
  };

  const cached = `${cacheDirectory}/uv/${UV_VERSION}/uv`;
  const uvCache = `${cacheDirectory}/uv-cache`;
  const present = async (): Promise<string | null> => {
    const onPath = await shell.which('uv');
    if (onPath !== null && (await isUsable(onPath))) return onPath;
    return (await files.exists(cached)) ? cached : null;
  };
  const fallbackOf = async (call: UvCall): Promise<string | null> => (isConfigured(call.indexes) ? null : indexOfPip(call.interpreter));

  const find = async (call: UvCall): Promise<string> => {
    const found = await present();
    if (found !== null) return found;
    call.onLine?.(`fetching uv ${UV_VERSION}`);
    const fallback = await fallbackOf(call);
    await inWorkDirectory(options, call.signal, async (work) =>
      unpackUv(options, await fetchUv(options, call, work, fallback), work, cached),
    );
    return cached;
  };

  const isUsable = async (file: string): Promise<boolean> => {
    const result = await shell
      .run(file, ['--version'], { environment: pythonEnvironment(environment), timeoutMs: SHORT_MS })
      .catch(() => null);
    const version = /^uv (\d+)\.(\d+)\.(\d+)/.exec(result?.stdout ?? '');
    const usable = version !== null && isAtLeast(version.slice(1).map(Number), OLDEST_UV);
    log.info({ uv: file, version: version?.[0] ?? null, usable }, 'uv on PATH');
    return usable;
  };

  return {
    run: async (args, call) => {
      if (call.signal?.aborted) throw interrupted(args);
      // Kept only when it worked, so that the next call tries again.
      program ??= find(call).catch((error: unknown) => {
        program = null;
        throw error;
      });
      const file = await program;
      const { configuration, credentials } = uvIndexes({ environment, indexes: call.indexes, fallbackIndex: await fallbackOf(call) });
      const configurationFile = `${cacheDirectory}/uv/${digestOf(configuration)}.toml`;
      await files.ensureDirectory(`${cacheDirectory}/uv`);
      await files.writeText(configurationFile, configuration, 0o600);
      const { onLine } = call;
      const running = shell.run(file, args, {
        cwd: call.cwd,
        environment: uvEnvironment({
          environment,
          indexes: call.indexes,
          credentials,
          configurationFile,
          cacheDirectory: uvCache,
          allowPythonDownloads: call.allowPythonDownloads ?? false,
        }),
        timeoutMs: call.timeoutMs,
        ...(call.signal === undefined ? {} : { signal: call.signal }),
        ...(onLine === undefined ? {} : { onLine: (line, stream) => (stream === 'stderr' ? onLine(redactUrls(line)) : undefined) }),
      });
      const result = await running.catch((error: unknown) => {
        throw call.signal?.aborted ? interrupted(args) : asAgentError(error);
      });
      if (call.signal?.aborted) throw interrupted(args);
      return result;
    },
    forgetAnswers: async () => {
      const kept = (await files.list(uvCache)).filter((name) => ANSWERS.test(name));
      await Promise.all(kept.map((name) => files.remove(`${uvCache}/${name}`)));
    },
    collect: (directory, call) =>
      inWorkDirectory(options, call.signal, async (work) => {
        const wheel = await fetchUv(options, call, work, await fallbackOf(call));
        const name = wheel.slice(wheel.lastIndexOf('/') + 1);
        await copyFile(wheel, `${directory}/${name}`);
        return name;
      }),
    place: async (wheel) => {
      if ((await present()) !== null) return;
      if ((await files.digest(wheel)) !== UV_WHEELS[process.arch]?.sha256)
        throw unavailable(`the uv of the bundle is not uv ${UV_VERSION} for ${process.arch}, which this agent pins`);
      await inWorkDirectory(options, undefined, (work) => unpackUv(options, wheel, work, cached));
    },
  };
}

const interrupted = (args: readonly string[]): AgentError =>
  new AgentError('INTERRUPTED', `uv ${args.slice(0, 2).join(' ')} was interrupted`);

async function unpackUv({ shell, files, environment, log }: UvOptions, wheel: string, work: string, target: string): Promise<void> {
  await extractZipEntry(wheel, UV_PROGRAM, `${work}/uv`, 0o755);
  const proof = await shell.run(`${work}/uv`, ['--version'], { environment: pythonEnvironment(environment), timeoutMs: SHORT_MS });
  if (proof.exitCode !== 0) throw unavailable(`uv ${UV_VERSION} does not run on this machine: ${proof.tail.trim().slice(-300)}`);
  await files.ensureDirectory(target.slice(0, target.lastIndexOf('/')));
  await files.move(`${work}/uv`, target);
  log.info({ uv: target, version: UV_VERSION }, 'uv put in place');
}

async function inWorkDirectory<T>(
  { files, cacheDirectory }: UvOptions,
  signal: AbortSignal | undefined,
  use: (work: string) => Promise<T>,
): Promise<T> {
  const work = `${cacheDirectory}/uv/fetch-${randomUUID()}`;
  try {
    await files.ensureDirectory(work);
    return await use(work);
  } catch (error) {
    if (signal?.aborted) throw new AgentError('INTERRUPTED', 'fetching uv was interrupted');
    const known = asAgentError(error);
    if (known.code === 'UV_UNAVAILABLE' || known.code === 'DISK_FULL') throw known;
    throw unavailable(`uv is not on this machine and could not be fetched: ${redactUrls(known.message)}`, error);
  } finally {
    await files.remove(work);
  }
}

function isAtLeast(version: readonly number[], oldest: readonly number[]): boolean {
  for (const [i, part] of oldest.entries()) {
    if ((version[i] ?? 0) !== part) return (version[i] ?? 0) > part;
  }
  return true;
}
