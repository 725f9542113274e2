import { execFileSync, spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { get, Agent as HttpAgent } from 'node:http';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { AGENT, freePorts, startAgent, stopAgents, type TestAgent } from '../test/support/agent/agent.ts';
import { median, residentMb } from './measures.ts';

/**
 * The figures of docs/figures.md: `npm run bench`. Medians of several runs, on the simulator with its ordinary start-up of
 * 3 s; where there is a peer, it is measured in the same run.
 */

interface Figure {
  readonly what: string;
  readonly value: string;
  readonly goal: string;
  readonly met: boolean;
}
const figures: Figure[] = [];
const record = (what: string, value: number, unit: string, goal: number, detail = ''): void => {
  const figure = {
    what,
    value: `${value.toFixed(value < 10 ? 2 : 0)} ${unit}${detail}`,
    goal: `at most ${goal} ${unit}`,
    met: value <= goal,
  };
  figures.push(figure);
  console.log(`${figure.met ? 'met   ' : 'MISSED'} ${what}: ${figure.value} (${figure.goal})`);
};

const quantile = (values: readonly number[], q: number): number =>
  [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * q))] ?? Number.NaN;
const pause = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms));
const STARTUP_MS = 3_000;

const answers = (url: string): Promise<boolean> =>
  new Promise((done) => {
    const request = get(url, { timeout: 1_000 }, (response) => {
      response.resume();
      done(response.statusCode === 200);
    });
    request.once('error', () => done(false));
    request.once('timeout', () => request.destroy());
  });

async function until(check: () => Promise<boolean>, limitMs = 60_000): Promise<number> {
  const began = performance.now();
  while (!(await check())) {
    if (performance.now() - began > limitMs) throw new Error('it did not happen within the limit');
    await pause(5);
  }
  return performance.now() - began;
}

/** Wall time of the simulator alone, from spawn to the first answer: an instance's own start time. */
async function ownStart(agent: TestAgent): Promise<number> {
  const { spawn } = await import('node:child_process');
  const times: number[] = [];
  for (let run = 0; run < 3; run++) {
    const directory = await mkdtemp(join(tmpdir(), 'bench-'));
    const tcpPort = await freePorts(1);
    const child = spawn(
      join(agent.root, 'current/venv/bin/python'),
      ['-u', 'main.py', '--cpu', '--port', String(tcpPort), '--temp-directory', directory],
      {
        cwd: join(agent.root, 'ComfyUI'),
        env: { ...agent.environment, SIM_STARTUP_MS: String(STARTUP_MS) },
        stdio: 'ignore',
      },
    );
    times.push(await until(() => answers(`http://127.0.0.1:${tcpPort}/prompt`)));
    child.kill('SIGKILL');
    await rm(directory, { recursive: true, force: true });
  }
  return median(times);
}

async function respawn(agent: TestAgent, own: number): Promise<void> {
  const times: number[] = [];
  const ready: number[] = [];
  for (let run = 0; run < 5; run++) {
    const { pid, port } = await agent.instance(0);
    process.kill(pid ?? -1, 'SIGKILL');
    const began = performance.now();
    await until(async () => !(await answers(`http://127.0.0.1:${port}/prompt`)));
    await until(() => answers(`http://127.0.0.1:${port}/prompt`));
    times.push(performance.now() - began - own);
    await until(async () => (await agent.get('/health/comfyui/instances/0')).status === 200);
    ready.push(performance.now() - began - own);
    await agent.untilReady();
  }
  record(
    'SIGKILL to serving again, minus own start time',
    median(times) / 1_000,
    's',
    0.5,
    ` (to ready in health: ${(median(ready) / 1_000).toFixed(2)} s; own start ${(own / 1_000).toFixed(2)} s)`,
  );
}

/** One instance goes back and forth between two proved releases of the same content. */
async function rollback(own: number): Promise<void> {
  const agent = await startAgent({ gpus: 1, environment: { SIM_STARTUP_MS: String(STARTUP_MS) } });
  await agent.untilReady();
  await agent.cli('reinstall');
  const current = (): string => readlinkSync(join(agent.root, 'current'));
  const serves = async (release: string): Promise<boolean> => {
    const { ready, release: runs } = await agent.instance(0);
    return ready && release.endsWith(`/${runs}`);
  };
  const switched: number[] = [];
  const serving: number[] = [];
  for (let run = 0; run < 4; run++) {
    const from = current();
    const other = readdirSync(join(agent.root, 'releases')).find((id) => !from.endsWith(`/${id}`)) ?? '';
    const began = performance.now();
    const asked = agent.cli('rollback', other);
    await until(async () => current() !== from);
    switched.push(performance.now() - began);
    await until(() => serves(current()));
    serving.push(performance.now() - began - own);
    await asked;
  }
  await agent.stop();
  record('agent rollback until current is switched', median(switched) / 1_000, 's', 1);
  record('agent rollback until the instance serves the old release, minus own start time', median(serving) / 1_000, 's', 1);
}

/** PM2 as shipped with the predecessor's entry (restart_delay 5000), a python that serves at once. */
async function stockRespawn(): Promise<void> {
  const home = await mkdtemp(join(tmpdir(), 'pm2-stock-'));
  const tcpPort = await freePorts(1);
  const pm2 = resolve('node_modules/pm2/bin/pm2');
  const environment = { ...process.env, PM2_HOME: home, PM2_DISABLE_VERSION_CHECK: '1' };
  const run = (...args: string[]) => spawnSync(process.execPath, [pm2, ...args], { env: environment, encoding: 'utf8' });
  const app = join(home, 'app.json');
  writeFileSync(
    app,
    JSON.stringify({
      apps: [
        {
          name: 'stock',
          script: 'python3',
          args: ['-m', 'http.server', String(tcpPort), '--bind', '127.0.0.1'],
          interpreter: 'none',
          restart_delay: 5_000,
          max_restarts: 10,
          min_uptime: '10s',
          cwd: home,
        },
      ],
    }),
  );
  try {
    run('start', app);
    const url = `http://127.0.0.1:${tcpPort}/`;
    const own = await until(() => answers(url));
    const times: number[] = [];
    for (let round = 0; round < 3; round++) {
      const pid = Number(run('pid', 'stock').stdout.trim());
      process.kill(pid, 'SIGKILL');
      const began = performance.now();
      await until(async () => !(await answers(url)));
      await until(() => answers(url));
      times.push(performance.now() - began);
    }
    console.log(
      `peer   stock PM2 with the predecessor's entry: SIGKILL to serving ${(median(times) / 1_000).toFixed(2)} s (its program starts within ${Math.round(own)} ms)`,
    );
    figures.push({
      what: 'the same with stock PM2 and the entry of the predecessor',
      value: `${(median(times) / 1_000).toFixed(2)} s`,
      goal: '(peer)',
      met: true,
    });
  } finally {
    run('kill');
    await rm(home, { recursive: true, force: true });
  }
}

/** 500 requests a second for 10 s, evenly spaced, while the other instance is stopped. */
async function probeLoad(agent: TestAgent): Promise<void> {
  const { pid } = await agent.instance(1);
  const http = new HttpAgent({ keepAlive: true, maxSockets: 32 });
  const times: number[] = [];
  let errors = 0;
  process.kill(pid ?? -1, 'SIGSTOP');
  try {
    const ask = (): Promise<void> =>
      new Promise((done) => {
        const began = performance.now();
        get(`${agent.url}/health/comfyui/instances/0`, { agent: http }, (response) => {
          response.resume();
          response.once('end', () => {
            times.push(performance.now() - began);
            if (response.statusCode !== 200) errors += 1;
            done();
          });
        }).once('error', () => {
          errors += 1;
          done();
        });
      });
    const began = performance.now();
    const asked: Promise<void>[] = [];
    for (let index = 0; index < 5_000; index++) {
      const due = began + index * 2;
      while (performance.now() < due) await pause(Math.max(0, due - performance.now()));
      asked.push(ask());
    }
    await Promise.all(asked);
  } finally {
    process.kill(pid ?? -1, 'SIGCONT');
    http.destroy();
  }
  record(
    'health of instance 0 at 500 requests/s, another stopped: p99',
    quantile(times, 0.99),
    'ms',
    5,
    ` (median ${median(times).toFixed(2)} ms, ${times.length} requests)`,
  );
  record('errors of these requests', errors, '', 0);
}

function commandTimes(agent: TestAgent): void {
  const time = (args: readonly string[]): number => {
    const times = Array.from({ length: 11 }, () => {
      const began = performance.now();
      execFileSync(process.execPath, [AGENT, ...args], { env: agent.environment, stdio: 'ignore' });
      return performance.now() - began;
    });
    return median(times.slice(1));
  };
  const bare = median(
    Array.from({ length: 11 }, () => {
      const began = performance.now();
      execFileSync(process.execPath, ['-e', '0'], { stdio: 'ignore' });
      return performance.now() - began;
    }),
  );
  record('agent --version', time(['--version']), 'ms', 60, ` (node -e 0: ${bare.toFixed(0)} ms)`);
  record('agent status', time(['status', '--root', agent.root]), 'ms', 120);
  record('agent install with nothing to do', time(['install', '--root', agent.root]) / 1_000, 's', 1);
}

async function memory(agent: TestAgent): Promise<void> {
  // Past the first collections; what a machine shows after a while.
  await pause(20_000);
  const daemon = Number(readFileSync(join(agent.root, 'state/pm2/pm2.pid'), 'utf8'));
  const [own, pm2] = [residentMb(agent.pid), residentMb(daemon)];
  record(
    'agent and PM2 daemon with 8 instances, resident',
    own + pm2,
    'MB',
    200,
    ` (agent ${own.toFixed(0)}, PM2 ${pm2.toFixed(0)}; aim 160)`,
  );
}

async function startTogether(agent: TestAgent, count: number): Promise<number> {
  await agent.cli('stop', 'all');
  const began = performance.now();
  const verb = agent.cli('start', ...(count === 1 ? ['0'] : ['all']));
  await verb;
  return performance.now() - began;
}

async function discoveryConnects(agent: TestAgent): Promise<void> {
  let connected = 0;
  for (let index = 0; index < 100; index++) {
    const { body } = await agent.get('/v1/discovery');
    const ready = (body as { instances: { ready: boolean; url: string }[] }).instances.filter((instance) => instance.ready);
    const chosen = ready[index % Math.max(1, ready.length)];
    if (chosen !== undefined && (await answers(`${chosen.url}/prompt`))) connected += 1;
  }
  record('workers of 100 that discovery did not connect', 100 - connected, '', 0);
}

console.log(`${process.version}, ${execFileSync('nproc').toString().trim()} cores`);
try {
  const two = await startAgent({ gpus: 2, environment: { SIM_STARTUP_MS: String(STARTUP_MS) } });
  await two.untilReady();
  const own = await ownStart(two);
  await respawn(two, own);
  await probeLoad(two);
  await two.untilReady();
  await discoveryConnects(two);
  await two.stop();
  await rollback(own);

  const eight = await startAgent({ gpus: 8, environment: { SIM_STARTUP_MS: String(STARTUP_MS) } });
  await eight.untilReady();
  commandTimes(eight);
  await memory(eight);
  const one = await startTogether(eight, 1);
  const all = await startTogether(eight, 8);
  record(
    'eight instances start together, against one',
    all / one,
    'times',
    1.5,
    ` (${(all / 1_000).toFixed(2)} s against ${(one / 1_000).toFixed(2)} s)`,
  );
  await eight.stop();
  await stockRespawn();
} finally {
  await stopAgents();
}

const rows = figures.map(
  ({ what, value, goal, met }) => `| ${what} | ${value} | ${goal} | ${goal === '(peer)' ? '' : met ? 'met' : '**missed**'} |`,
);
console.log(`\n| figure | measured | goal | |\n|---|---|---|---|\n${rows.join('\n')}`);
process.exitCode = figures.every((figure) => figure.met) ? 0 : 1;
