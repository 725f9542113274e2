import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { eventually } from '../eventually.ts';

export interface SimulatorOptions {
  /** SIM_VERSION: 0.3.12 (fork protocol), 0.3.33 or 0.3.64 (upstream). */
  readonly version?: string;
  /** More environment, such as SIM_JOB_ERROR; start-up takes no time unless SIM_STARTUP_MS says otherwise. */
  readonly env?: Readonly<Record<string, string>>;
  /** More arguments of main.py. */
  readonly args?: readonly string[];
}

export interface Simulator {
  readonly baseUrl: string;
  readonly tcpPort: number;
  readonly pid: number;
  /** Holds output/, temp/, input/ and user/; removed by `stop`. */
  readonly directory: string;
  /** Everything it has printed. */
  readonly log: () => string;
  /** Replaces the switches of the control file (simulator/README.md); taken over within 50 ms. */
  readonly control: (switches: Readonly<Record<string, unknown>>) => Promise<void>;
  /** Ends it, however it behaves, and removes its directory. Can be called twice. */
  readonly stop: () => Promise<void>;
}

const CHECKOUT = resolve(import.meta.dirname, '../../../simulator');
const STOP_LIMIT_MS = 3_000;

/** A port that was free a moment ago, chosen by the kernel. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}

/** Starts the simulator as ComfyUI is started, and answers when it serves. */
export async function startSimulator(options: SimulatorOptions = {}): Promise<Simulator> {
  const directory = await mkdtemp(join(tmpdir(), 'comfy-simulator-'));
  const folders = Object.fromEntries(['output', 'temp', 'input', 'user'].map((name) => [name, join(directory, name)]));
  await Promise.all(Object.values(folders).map((path) => mkdir(path)));
  const controlFile = join(directory, 'control.json');
  const tcpPort = await freePort();
  const folderArguments = Object.entries(folders).flatMap(([name, path]) => [`--${name}-directory`, path]);
  const child = spawn(
    'python3',
    ['-u', 'main.py', '--cpu', '--listen', '127.0.0.1', '--port', String(tcpPort), ...folderArguments, ...(options.args ?? [])],
    {
      cwd: CHECKOUT,
      env: {
        PATH: process.env['PATH'],
        HOME: process.env['HOME'],
        PYTHONDONTWRITEBYTECODE: '1',
        SIM_STARTUP_MS: '0',
        SIM_CONTROL_FILE: controlFile,
        ...(options.version === undefined ? {} : { SIM_VERSION: options.version }),
        ...options.env,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  let log = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text: string) => (log += text));

  const stop = async (): Promise<void> => {
    await end(child);
    await rm(directory, { recursive: true, force: true });
  };
  const control: Simulator['control'] = async (switches) => {
    await writeFile(`${controlFile}.new`, JSON.stringify(switches));
    await rename(`${controlFile}.new`, controlFile);
  };
  try {
    await eventually('the simulator serves', () => log.includes('To see the GUI') || hasEnded(child), 30_000);
    if (hasEnded(child)) throw new Error(`the simulator ended with ${child.exitCode ?? child.signalCode}:\n${log}`);
  } catch (error) {
    await stop();
    throw error;
  }
  return { baseUrl: `http://127.0.0.1:${tcpPort}`, tcpPort, pid: child.pid ?? 0, directory, log: () => log, control, stop };
}

const hasEnded = (child: ChildProcess): boolean => child.exitCode !== null || child.signalCode !== null;

async function end(child: ChildProcess): Promise<void> {
  if (hasEnded(child)) return;
  const ended = once(child, 'exit');
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_LIMIT_MS);
  child.kill('SIGINT');
  // One that was stopped would not see it.
  child.kill('SIGCONT');
  await ended;
  clearTimeout(timer);
}
