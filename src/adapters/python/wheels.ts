/** One wheel for each locked package, by pip: uv installs, but hands out no files. */
import { AgentError } from '../../domain/errors/errors.ts';
import { hashedLine, type LockedPackage } from '../../domain/installation/lock.ts';
import { normaliseName, redactUrls } from '../../domain/installation/requirements.ts';
import type { Files } from '../../ports/files.ts';
import type { PythonEnvironments } from '../../ports/python.ts';
import type { Shell } from '../../ports/shell.ts';
import { pipEnvironment, pythonEnvironment } from './uv/environment.ts';

const SHORT_MS = 30_000;
/** Where the backends of uv's --torch-backend have their index. */
const TORCH_INDEX = 'https://download.pytorch.org/whl/';

export interface WheelOptions {
  readonly shell: Shell;
  readonly files: Files;
  readonly environment: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
}

/** A pin as every pip reads it: some refuse `name @ git+file:…`. */
const pipLine = (pin: LockedPackage): string =>
  pin.url === null
    ? hashedLine(pin)
    : [`${pin.url}${pin.url.includes('#') ? '&' : '#'}egg=${pin.name}`, ...pin.hashes.map((hash) => `--hash=${hash}`)].join(' ');

type Request = Parameters<PythonEnvironments['collectWheels']>[0];

/** The interpreter that an environment was made of, when it has pip. */
export async function interpreterWithPip({ shell, environment }: WheelOptions, python: string): Promise<string | null> {
  const options = { environment: pythonEnvironment(environment), timeoutMs: SHORT_MS };
  const base = (await shell.run(python, ['-c', 'import sys; print(sys._base_executable)'], options)).stdout.trim();
  if (!base.startsWith('/')) return null;
  return (await shell.run(base, ['-m', 'pip', '--version'], options)).exitCode === 0 ? base : null;
}

/** @param python an interpreter with pip, of the version that the wheels are for */
export async function buildWheels(
  { shell, files, environment, timeoutMs }: WheelOptions,
  python: string,
  work: string,
  request: Request,
): Promise<ReadonlyMap<string, string>> {
  const { pins, constraints, torchBackend, directory, signal, onLine } = request;
  const constraintsFile = `${work}/constraints.txt`;
  await files.writeText(constraintsFile, `${constraints.join('\n')}\n`, 0o600);
  const base = pipEnvironment(environment, request);
  const extra = [base['PIP_EXTRA_INDEX_URL'], torchBackend === null ? undefined : TORCH_INDEX + torchBackend].filter(Boolean);
  const build = async (some: readonly LockedPackage[], verified: boolean): Promise<void> => {
    if (some.length === 0) return;
    const pinsFile = `${work}/pins-${verified ? 'hashed' : 'urls'}.txt`;
    await files.writeText(pinsFile, `${some.map(pipLine).join('\n')}\n`, 0o600);
    const lines: string[] = [];
    const args = ['-m', 'pip', 'wheel', '--no-deps', '--progress-bar=off', '--retries=2', '--timeout=30', `--wheel-dir=${directory}`];
    const result = await shell.run(python, [...args, ...(verified ? ['--require-hashes'] : []), `--requirement=${pinsFile}`], {
      cwd: work,
      environment: {
        ...base,
        // What is built is built against what is locked, as when it was installed.
        ...(constraints.length === 0 ? {} : { PIP_BUILD_CONSTRAINT: constraintsFile }),
        // The name of the same before pip 25.3; it does not go with --require-hashes there.
        ...(constraints.length === 0 || verified ? {} : { PIP_CONSTRAINT: constraintsFile }),
        ...(extra.length === 0 ? {} : { PIP_EXTRA_INDEX_URL: extra.join(' ') }),
        GIT_TERMINAL_PROMPT: '0',
        GIT_SSH_COMMAND: 'ssh -oBatchMode=yes',
      },
      timeoutMs,
      ...(signal === undefined ? {} : { signal }),
      onLine: (line) => {
        lines.push(redactUrls(line));
        onLine?.(redactUrls(line));
      },
    });
    if (signal?.aborted) throw new AgentError('INTERRUPTED', 'collecting wheels was interrupted');
    if (result.exitCode === 0) return;
    const told =
      lines
        .filter((line) => /^\s*(?:ERROR|error):?/.test(line))
        .slice(0, 5)
        .join(' ') || lines.slice(-5).join(' ');
    if (/DO NOT MATCH THE HASHES/.test(lines.join('\n'))) throw new AgentError('HASH_MISMATCH', `a wheel is not the locked one: ${told}`);
    throw new AgentError('ENVIRONMENT_FAILED', `the wheels could not be collected: ${result.timedOut ? 'it took too long' : told}`);
  };
  await build(
    pins.filter(({ hashes }) => hashes.length > 0),
    true,
  );
  await build(
    pins.filter(({ hashes }) => hashes.length === 0),
    false,
  );
  const found = new Map((await files.list(directory)).map((name) => [normaliseName(name.split('-')[0] ?? ''), name]));
  const collected = new Map<string, string>();
  for (const { name } of pins) {
    const file = found.get(name);
    if (file === undefined) throw new AgentError('ENVIRONMENT_FAILED', `there is no wheel of ${name}`);
    collected.set(name, file);
  }
  return collected;
}
