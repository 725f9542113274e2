import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, openSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join, relative, resolve } from 'node:path';

/** The second half of scripts/quickstart: starts the built agent, waits until it is healthy, and says what to type next. */

const AGENT = resolve(import.meta.dirname, '../dist/agent.cjs');
const MOCK_GPUS = 2;
const [, , verb, root = '', port = '0', real = 'no', detach = 'no'] = process.argv;

interface RunningAgent {
  readonly pid: number;
  readonly url: string;
}

const runningAgent = (): RunningAgent | null => {
  try {
    const agent = JSON.parse(readFileSync(join(root, 'run/agent.json'), 'utf8')) as RunningAgent;
    process.kill(agent.pid, 0);
    return agent;
  } catch {
    return null;
  }
};

const pause = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms));

async function stop(): Promise<void> {
  const agent = runningAgent();
  if (agent === null) return console.log(`nothing runs on ${root}`);
  process.kill(agent.pid, 'SIGTERM');
  for (let waited = 0; waited < 60_000 && runningAgent() !== null; waited += 100) await pause(100);
  console.log(
    runningAgent() === null ? `stopped the agent on ${root}` : `the agent (pid ${agent.pid}) still drains; a second --stop ends it at once`,
  );
}

/** The first of a run of ports that nobody holds, from 8188 on. */
async function freePorts(count: number): Promise<number> {
  const isFree = (tcpPort: number): Promise<boolean> =>
    new Promise((done) => {
      const server = createServer().once('error', () => done(false));
      server.listen(tcpPort, '127.0.0.1', () => server.close(() => done(true)));
    });
  for (let first = 8188; first < 60_000; first += count) {
    const free = await Promise.all(Array.from({ length: count }, (_, index) => isFree(first + index)));
    if (free.every(Boolean)) return first;
  }
  throw new Error('no free ports were found');
}

async function run(): Promise<void> {
  const before = runningAgent();
  if (before !== null) {
    console.log(`an agent already runs on ${root}: ${before.url}  (./scripts/quickstart --stop ends it)`);
    return;
  }
  mkdirSync(root, { recursive: true });
  const environment = { ...process.env };
  if (real === 'yes') {
    const { status } = spawnSync('nvidia-smi', ['-L'], { stdio: 'ignore', timeout: 10_000 });
    if (status !== 0 && environment['MOCK_GPU'] === undefined) {
      console.log('no NVIDIA GPU was found: ComfyUI runs on the CPU');
      environment['COMFYUI_CPU_ONLY'] ??= '1';
    }
  } else {
    Object.assign(environment, { COMFYUI_REPO: 'simulator:', MOCK_GPU: '1', TEST_GPUS: String(MOCK_GPUS) });
    environment['COMFYUI_PORT_START'] ??= String(await freePorts(MOCK_GPUS));
  }
  const isBackground = detach === 'yes';
  mkdirSync(join(root, 'logs'), { recursive: true });
  const output = isBackground ? openSync(join(root, 'logs/quickstart.log'), 'a') : ('inherit' as const);
  const child = spawn(process.execPath, [AGENT, 'run', '--root', root, '--port', port, ...(isBackground ? [] : ['-q'])], {
    env: environment,
    detached: isBackground,
    stdio: ['ignore', output, output],
  });
  // Ctrl-C reaches the agent too, in the same process group; we only wait for it to end what it started.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => (signal === 'SIGTERM' ? child.kill(signal) : undefined));
  const ended = new Promise<number>((done) => child.once('exit', (code) => done(code ?? 1)));
  const healthy = wait(child.pid ?? 0, ended);
  const outcome = await Promise.race([healthy, ended.then(() => null)]);
  if (outcome !== null) tell(outcome, isBackground);
  if (isBackground && outcome !== null) {
    child.unref();
    process.exitCode = 0;
    return;
  }
  process.exitCode = await ended;
}

/** Until every instance is ready; prints each change of the reason meanwhile. */
async function wait(pid: number, ended: Promise<number>): Promise<RunningAgent | null> {
  let isOver = false;
  void ended.then(() => {
    isOver = true;
  });
  let shown = '';
  while (!isOver) {
    const agent = runningAgent();
    if (agent?.pid === pid) {
      const health = (await fetch(`${agent.url}/health/comfyui`)
        .then((response) => response.json())
        .catch(() => null)) as {
        status: string;
        capacity: string;
        reasons: string[];
        layers: { installation: { reason: string | null } };
      } | null;
      if (
        health?.status === 'healthy' ||
        (health?.status === 'degraded' && health.capacity.split('/')[0] === health.capacity.split('/')[1])
      )
        return agent;
      const reason = (health?.reasons[0] ?? 'starting').replace(/for \d+ s/, '');
      if (reason !== shown) {
        shown = reason;
        console.log(`  ${health?.capacity ?? '0/?'} ready; ${reason}`);
      }
    }
    await pause(300);
  }
  return null;
}

function tell({ url }: RunningAgent, isBackground: boolean): void {
  const command = `node ${relative(process.cwd(), AGENT) || AGENT} status --root ${root}`;
  console.log(`
ready.
  status page   ${url}/
  health        ${url}/health/comfyui
  API           ${url}/docs
type next:      ${command}
${isBackground ? `stop it with:   ./scripts/quickstart --stop --root ${root}` : 'Ctrl-C stops everything that was started here.'}`);
}

await (verb === 'stop' ? stop() : run());
