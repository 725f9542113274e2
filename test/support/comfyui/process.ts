import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventually } from '../eventually.ts';
import { freePort } from './simulator.ts';

/** A ComfyUI, or what stands in for it: how to run its main.py. */
export interface ComfyuiProgram {
  readonly python: string;
  readonly checkout: string;
  readonly environment: Readonly<Record<string, string>>;
}

export interface ComfyuiOptions {
  /** More arguments; the directories, the address and --cpu are given. */
  readonly args?: readonly string[];
  readonly cpu?: boolean;
  readonly environment?: Readonly<Record<string, string>>;
  /** Default: a free one. */
  readonly tcpPort?: number;
}

/** How a process ended: an exit code or a signal. */
export type End = number | NodeJS.Signals | null;

export interface ComfyuiProcess {
  readonly baseUrl: string;
  readonly tcpPort: number;
  readonly directory: string;
  readonly stdout: () => string;
  readonly stderr: () => string;
  /** Waits for a text in its log; rejects when it ends before. */
  readonly until: (text: string) => Promise<void>;
  /** Sends a signal, and waits for the end. */
  readonly end: (signal: NodeJS.Signals) => Promise<End>;
  readonly ended: Promise<End>;
  /** Ends it, however it behaves, and removes its directory. */
  readonly remove: () => Promise<void>;
}

const LIMIT_MS = 180_000;

/** Runs main.py with directories of its own, as the agent does. */
export async function runComfyui(program: ComfyuiProgram, options: ComfyuiOptions = {}): Promise<ComfyuiProcess> {
  const directory = await mkdtemp(join(tmpdir(), 'comfyui-process-'));
  const folders = ['output', 'temp', 'input', 'user'];
  await Promise.all(folders.map((name) => mkdir(join(directory, name))));
  const tcpPort = options.tcpPort ?? (await freePort());
  const child = spawn(
    program.python,
    [
      '-u',
      'main.py',
      ...['--listen', '127.0.0.1', '--port', String(tcpPort)],
      ...folders.flatMap((name) => [`--${name}-directory`, join(directory, name)]),
      ...(options.cpu === false ? [] : ['--cpu']),
      ...(options.args ?? []),
    ],
    {
      cwd: program.checkout,
      env: {
        PATH: process.env['PATH'],
        HOME: directory,
        LANG: 'C.UTF-8',
        CUDA_VISIBLE_DEVICES: '',
        ...program.environment,
        ...options.environment,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  let result: { readonly end: End } | null = null;
  const ended = new Promise<End>((done) =>
    child.once('close', (code, signal) => {
      result = { end: signal ?? code };
      done(result.end);
    }),
  );
  return {
    baseUrl: `http://127.0.0.1:${tcpPort}`,
    tcpPort,
    directory,
    stdout: () => stdout,
    stderr: () => stderr,
    until: async (text) => {
      await eventually(`the log says ${text}`, () => stderr.includes(text) || result !== null, LIMIT_MS);
      if (!stderr.includes(text)) throw new Error(`ended with ${result?.end} before "${text}":\n${stderr}`);
    },
    end: (signal) => {
      child.kill(signal);
      return ended;
    },
    ended,
    remove: async () => {
      if (result === null) child.kill('SIGKILL');
      await ended;
      await rm(directory, { recursive: true, force: true });
    },
  };
}
