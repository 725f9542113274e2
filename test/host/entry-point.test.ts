import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import type { InstanceDocument } from '../../src/domain/instances/instance.ts';
import { AGENT, baseEnvironment, freePorts, newRoot, stopAgents } from '../support/agent/agent.ts';
import { controlFile, startLongJob, untilPicture } from '../support/agent/control-file.ts';
import { eventually } from '../support/eventually.ts';
import { noRoom } from '../support/host/room.ts';

/** The agent as the entry point of a container without systemd: PID 1 of a namespace, with tini before it and without. */

const refusal = noRoom();
const TINI = ['/usr/bin/tini', process.env['TINI'] ?? ''].find((path) => path !== '' && existsSync(path));
const PROGRAM = process.env['AGENT_BINARY'] === undefined ? [process.execPath, AGENT] : [process.env['AGENT_BINARY']];

interface Container {
  readonly root: string;
  /** PID 1 in there, by its number out here. */
  readonly init: number;
  readonly output: () => string;
  readonly instance: () => Promise<InstanceDocument>;
  /** SIGTERM to PID 1, as `docker stop` sends it; resolves when everything in there is over. */
  stop(): Promise<{ readonly code: number | null; readonly ms: number }>;
}

const holders: ChildProcess[] = [];
afterEach(async () => {
  for (const holder of holders.splice(0)) {
    if (holder.exitCode !== null || holder.signalCode !== null) continue;
    const ended = once(holder, 'close');
    holder.kill('SIGKILL');
    await ended;
  }
  await stopAgents();
});

async function container(init: readonly string[], environment: Readonly<Record<string, string>> = {}): Promise<Container> {
  const root = await newRoot();
  const config = {
    ports: { first: await freePorts(1) },
    gpu: { mode: 'mock', mockCount: 1 },
    comfyui: { repository: 'simulator:' },
    api: { port: 0 },
  };
  await writeFile(join(root, 'agent.yaml'), stringify(config));
  const holder = spawn(
    'unshare',
    ['--mount', '--propagation', 'private', '--pid', '--fork', '--mount-proc', '--kill-child', ...init, ...PROGRAM, 'run', '--root', root],
    { env: { ...baseEnvironment(), SIM_STARTUP_MS: '300', ...environment }, stdio: ['ignore', 'pipe', 'pipe'] },
  );
  holders.push(holder);
  let text = '';
  holder.stdout.on('data', (chunk) => (text += String(chunk)));
  holder.stderr.on('data', (chunk) => (text += String(chunk)));
  const url = await eventually(
    'the agent listens',
    async () => {
      if (holder.exitCode !== null) throw new Error(`it ended with ${holder.exitCode}: ${text}`);
      return (JSON.parse(await readFile(join(root, 'run/agent.json'), 'utf8')) as { url: string }).url;
    },
    20_000,
  );
  const instance = async () => (await (await fetch(`${url}/health/comfyui/instances/0`)).json()) as InstanceDocument;
  await eventually('the instance is ready', async () => (await instance()).ready, 60_000);
  const inside = Number(readFileSync(`/proc/${holder.pid}/task/${holder.pid}/children`, 'utf8').trim());
  return {
    root,
    init: inside,
    output: () => text,
    instance,
    async stop() {
      const started = performance.now();
      const closed = once(holder, 'close') as Promise<[number | null]>;
      process.kill(inside, 'SIGTERM');
      const [code] = await closed;
      return { code, ms: performance.now() - started };
    },
  };
}

/** What a node pack leaves behind: a process that loses its parent, and ends later. @returns its pid out here */
async function orphanIn({ init }: Container): Promise<number> {
  const marker = `0.${Math.floor(Math.random() * 1e6)}5`;
  spawnSync('nsenter', ['-t', String(init), '-m', '-p', 'sh', '-c', `sleep ${marker} </dev/null >/dev/null 2>&1 &`]);
  return eventually('the orphan runs', async () => {
    const pids = readFileSync(`/proc/${init}/task/${init}/children`, 'utf8').trim().split(' ').map(Number);
    const found = pids.find((pid) => readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes(marker));
    if (found === undefined) throw new Error(`not among ${pids.join()}`);
    return found;
  });
}

const stateOf = (pid: number): string | null => {
  try {
    return /^State:\s+(\w)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? null;
  } catch {
    return null;
  }
};

describe.skipIf(refusal !== null)(`the agent as PID 1${refusal === null ? '' : ` (${refusal})`}`, () => {
  it('says that nobody reaps, on stderr and in its log, and drains all the same', async () => {
    const control = controlFile(await newRoot());
    const box = await container([], control.environment);
    const words = 'this is PID 1, and nobody reaps what node packs leave behind: make `tini -- agent run` the entry point';
    expect(box.output()).toContain(words);
    expect(await readFile(join(box.root, 'logs/agent.log'), 'utf8')).toContain(words);
    const orphan = await orphanIn(box);
    await eventually('the orphan is a zombie', async () => stateOf(orphan) === 'Z');
    const picture = await startLongJob(control, (await box.instance()).url);
    const stopped = box.stop();
    await eventually('the agent drains', async () => (await box.instance()).status === 'draining' || (await box.instance()).hold !== null);
    await control.set({});
    expect(await stopped).toMatchObject({ code: 0 });
    await untilPicture(box.root, picture);
    await rm(box.root, { recursive: true, force: true });
  });
});

const noTini = refusal ?? (TINI === undefined ? 'the Debian package tini is missing' : null);
describe.skipIf(noTini !== null)(`the agent under tini${noTini === null ? '' : ` (${noTini})`}`, () => {
  it('warns of nothing; what loses its parent is reaped; SIGTERM lets the job finish', async () => {
    const control = controlFile(await newRoot());
    const box = await container([TINI ?? '', '--'], { ...control.environment, AGENT_STOP_GRACE: '60s' });
    expect(box.output()).not.toContain('PID 1');
    const orphan = await orphanIn(box);
    await eventually('the orphan is reaped', async () => stateOf(orphan) === null);
    const { url } = await box.instance();
    const picture = await startLongJob(control, url);
    const stopped = box.stop();
    await eventually('the agent drains', async () => !(await box.instance()).ready);
    const queue = (await (await fetch(`${url}/queue`)).json()) as { queue_running: readonly unknown[] };
    expect(queue.queue_running).toHaveLength(1);
    await control.set({});
    const { code, ms } = await stopped;
    expect(code).toBe(0);
    expect(ms).toBeLessThan(45_000);
    await untilPicture(box.root, picture);
  });

  it('ends within the grace, whatever the job does', async () => {
    const control = controlFile(await newRoot());
    const box = await container([TINI ?? '', '--'], { ...control.environment, AGENT_STOP_GRACE: '8s' });
    await startLongJob(control, (await box.instance()).url);
    const { code, ms } = await box.stop();
    expect(code).toBe(0);
    // Half of it was the job's.
    expect(ms).toBeGreaterThan(3_500);
    expect(ms).toBeLessThan(8_000);
  });
});
