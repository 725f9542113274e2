import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { stringify } from 'yaml';
import type { InstanceDocument } from '../../../src/domain/instances/instance.ts';
import { eventually } from '../eventually.ts';
import { type Cards, mockCards } from './cards.ts';

/** The built program, as users run it. */
export const AGENT = resolve(import.meta.dirname, '../../../dist/agent.cjs');
/** The bundle, or the single executable that AGENT_BINARY names. */
const PROGRAM: readonly string[] = process.env['AGENT_BINARY'] === undefined ? [process.execPath, AGENT] : [process.env['AGENT_BINARY']];

export interface CliResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface TestAgent {
  readonly root: string;
  readonly url: string;
  readonly firstPort: number;
  readonly pid: number;
  readonly environment: Record<string, string>;
  /** Runs a verb of the real CLI against this root. */
  cli(...args: string[]): Promise<CliResult>;
  json<T>(...args: string[]): Promise<T>;
  get(path: string, init?: RequestInit): Promise<{ status: number; body: unknown; headers: Headers }>;
  instance(gpu: number): Promise<InstanceDocument>;
  untilReady(gpus?: readonly number[]): Promise<void>;
  /** SIGTERM and wait; resolves with the exit code. */
  stop(): Promise<number | null>;
  /** SIGKILL, for tests of what is left behind. */
  kill(): Promise<void>;
  output(): string;
}

export interface AgentOptions {
  /** So many mock cards, where `cards` says nothing. */
  readonly gpus?: number;
  readonly cards?: Cards;
  readonly config?: Record<string, unknown>;
  readonly environment?: Record<string, string>;
  /** Reuse a root of an earlier agent. */
  readonly root?: string;
  readonly firstPort?: number;
  readonly files?: Readonly<Record<string, string>>;
  /** Command that starts the agent, such as unshare; it must become the agent (exec). */
  readonly prefix?: readonly string[];
  /** Another build of it. */
  readonly program?: readonly string[];
}

const started = new Set<TestAgent>();
const roots = new Set<string>();
const used = new Set<Cards>();

const STOP_LIMIT_MS = 30_000;

/** For afterEach: ends every agent of the file and what a killed one left behind, and removes the roots and the cards. */
export async function stopAgents(): Promise<void> {
  await Promise.all([...started].map(stopOrKill));
  started.clear();
  await Promise.all([...roots].map(endLeftPm2));
  await Promise.all([...roots].map((root) => rm(root, { recursive: true, force: true, maxRetries: 5 })));
  roots.clear();
  await Promise.all([...used].map((cards) => cards.close()));
  used.clear();
}

/** Ends what runs on one root, and removes it: for tests that have several agents at once. */
export async function closeRoot(root: string): Promise<void> {
  await Promise.all([...started].filter((agent) => agent.root === root).map(stopOrKill));
  await endLeftPm2(root);
  await rm(root, { recursive: true, force: true, maxRetries: 5 });
  roots.delete(root);
}

async function stopOrKill(agent: TestAgent): Promise<void> {
  const timer = setTimeout(() => void agent.kill(), STOP_LIMIT_MS);
  await agent.stop();
  clearTimeout(timer);
}

/** A killed agent leaves its PM2 daemon, which stops its instances when it is asked to end. */
async function endLeftPm2(root: string): Promise<void> {
  const pid = Number(await readFile(join(root, 'state/pm2/pm2.pid'), 'utf8').catch(() => 'none'));
  const title = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
  if (!title.includes(root)) return;
  process.kill(pid, 'SIGTERM');
  const end = performance.now() + STOP_LIMIT_MS;
  while (existsSync(`/proc/${pid}`)) {
    if (performance.now() > end) throw new Error(`the PM2 daemon ${pid} of ${root} does not end`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

export async function newRoot(): Promise<string> {
  const root = await mkdtemp(join(tmpdir(), 'agent-e2e-'));
  roots.add(root);
  return root;
}

/** What a test agent may see of this machine. */
export const baseEnvironment = (): Record<string, string> => ({
  PATH: process.env['PATH'] ?? '/usr/bin:/bin',
  HOME: tmpdir(),
  LANG: 'C.UTF-8',
  ...Object.fromEntries(
    Object.entries(process.env).filter(
      (entry): entry is [string, string] => entry[1] !== undefined && /^(PIP_|UV_|SSL_CERT|NODE_EXTRA_CA)/.test(entry[0]),
    ),
  ),
});

/** A run of `count` ports that nobody holds just now. */
export async function freePorts(count: number): Promise<number> {
  for (let attempt = 0; attempt < 50; attempt++) {
    // Below the range from which the kernel takes ports for outgoing connections.
    const first = 20_000 + Math.floor(Math.random() * 12_000);
    const free = await Promise.all(Array.from({ length: count }, (_, index) => isFree(first + index)));
    if (free.every(Boolean)) return first;
  }
  throw new Error('no free run of ports was found');
}

const isFree = (tcpPort: number): Promise<boolean> =>
  new Promise((done) => {
    const server = createServer().once('error', () => done(false));
    server.listen(tcpPort, '127.0.0.1', () => server.close(() => done(true)));
  });

export async function startAgent(options: AgentOptions = {}): Promise<TestAgent> {
  const cards = options.cards ?? mockCards(options.gpus ?? 2);
  used.add(cards);
  const root = options.root ?? (await newRoot());
  const firstPort = options.firstPort ?? (await freePorts(cards.count));
  for (const [path, content] of Object.entries(options.files ?? {})) {
    await mkdir(join(root, path, '..'), { recursive: true });
    await writeFile(join(root, path), content);
  }
  const environment = { ...baseEnvironment(), SIM_STARTUP_MS: '300', ...cards.environment, ...options.environment };
  await writeFile(
    join(root, 'agent.yaml'),
    stringify({
      ports: { first: firstPort },
      ...options.config,
      gpu: { ...cards.config, ...(options.config?.['gpu'] as object | undefined) },
      comfyui: { repository: 'simulator:', ...(options.config?.['comfyui'] as object | undefined) },
      api: { port: 0, ...(options.config?.['api'] as object | undefined) },
    }),
  );
  let text = '';
  const [file = '', ...args] = [...(options.prefix ?? []), ...(options.program ?? PROGRAM), 'run', '--root', root];
  const child = spawn(file, args, { env: environment, stdio: ['ignore', 'pipe', 'pipe'] });
  child.stdout.on('data', (chunk) => (text += String(chunk)));
  child.stderr.on('data', (chunk) => (text += String(chunk)));
  const exited = new Promise<number | null>((done) => child.once('exit', (code) => done(code)));
  const url = await listening(child, () => text);
  const agent = describeAgent({ root, url, firstPort, child, environment, exited, output: () => text });
  started.add(agent);
  return agent;
}

async function listening(child: ChildProcess, output: () => string): Promise<string> {
  return eventually(
    'the agent listens',
    () => {
      if (child.exitCode !== null) throw new Error(`the agent ended with ${child.exitCode}: ${output()}`);
      const url = /^serving (\S+) and /m.exec(output())?.[1];
      if (url === undefined) throw new Error('not yet');
      return url;
    },
    20_000,
  );
}

export async function runCli(
  root: string,
  environment: Record<string, string>,
  args: readonly string[],
  program: readonly string[] = PROGRAM,
): Promise<CliResult> {
  return new Promise((done, failed) => {
    const [file = '', ...first] = program;
    const child = spawn(file, [...first, ...args, '--root', root], { env: environment, stdio: ['ignore', 'pipe', 'pipe'] });
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (chunk) => (stdout += String(chunk)));
    child.stderr.on('data', (chunk) => (stderr += String(chunk)));
    child.once('error', failed);
    child.once('close', (code) => done({ code, stdout, stderr }));
  });
}

function describeAgent(parts: {
  root: string;
  url: string;
  firstPort: number;
  child: ChildProcess;
  environment: Record<string, string>;
  exited: Promise<number | null>;
  output: () => string;
}): TestAgent {
  const { root, url, child, environment, exited } = parts;
  const get: TestAgent['get'] = async (path, init) => {
    const response = await fetch(`${url}${path}`, init);
    const text = await response.text();
    return {
      status: response.status,
      headers: response.headers,
      body: text.startsWith('{') || text.startsWith('[') ? (JSON.parse(text) as unknown) : text,
    };
  };
  const instance: TestAgent['instance'] = async (gpu) => (await get(`/health/comfyui/instances/${gpu}`)).body as InstanceDocument;
  const agent: TestAgent = {
    root,
    url,
    firstPort: parts.firstPort,
    pid: child.pid ?? 0,
    environment,
    cli: (...args) => runCli(root, environment, args),
    json: async <T>(...args: string[]) => {
      const result = await runCli(root, environment, [...args, '--json']);
      return JSON.parse(result.stdout) as T;
    },
    get,
    instance,
    untilReady: async (gpus) => {
      await eventually(
        'instances are ready',
        async () => {
          const { body } = await get('/health/comfyui/instances');
          const { instances } = body as { instances: InstanceDocument[] };
          const wanted = gpus === undefined ? instances : instances.filter((each) => gpus.includes(each.gpu));
          if (wanted.length === 0 || wanted.some((each) => !each.ready)) {
            throw new Error(
              `not ready: ${JSON.stringify(instances.map(({ gpu, status, hold, layers }) => ({ gpu, status, hold, runtime: layers.runtime.reason, functional: layers.functional.reason })))}\n${parts.output()}`,
            );
          }
          return true;
        },
        60_000,
      );
    },
    stop: async () => {
      started.delete(agent);
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM');
      return exited;
    },
    kill: async () => {
      started.delete(agent);
      child.kill('SIGKILL');
      await exited;
    },
    output: parts.output,
  };
  return agent;
}
