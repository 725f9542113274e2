import { execFileSync, spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createProcesses } from '../../../src/adapters/pm2/pm2.ts';
import { callDaemon } from '../../../src/adapters/pm2/rpc.ts';
import type { ProcessEvent } from '../../../src/domain/instances/instance.ts';
import type { Logger } from '../../../src/ports/logs.ts';
import type { Processes } from '../../../src/ports/pm2.ts';
import { eventually } from '../../support/eventually.ts';
import { type RealHarness, realHarness } from '../../support/pm2/harness.ts';

/** What only the real PM2 has: sockets, signals, children, a daemon that can be hurt. */

const NAME = 'comfyui-gpu0';

let harness: RealHarness;
let processes: Processes;
let events: ProcessEvent[];

beforeEach(async () => {
  harness = await realHarness();
  processes = harness.client();
  events = [];
  processes.onEvent((event) => events.push(event));
});
afterEach(() => harness.close());

const exits = () => events.filter((event) => event.kind === 'exit');

describe('an entry', () => {
  beforeEach(() => processes.connect());

  it('is the python process itself, with its log, without PM2 channel, open to SIGINT', async () => {
    await processes.start(harness.entry(NAME, { arguments: ['--port', '8188', 'two words; $HOME'] }));
    const facts = await harness.facts(NAME);
    const [state] = await processes.list();
    expect(state?.pid).toBe(facts.pid);
    const command = (await readFile(`/proc/${facts.pid}/cmdline`, 'utf8')).split('\0').slice(0, -1);
    expect(command).toEqual(['/usr/bin/python3', '-u', 'main.py', '--port', '8188', 'two words; $HOME']);
    expect(facts.descriptors).toEqual(['0', '1', '2', '3']);
    // 3 is the server's own socket: the channel of PM2 was closed before.
    expect(facts.environment['NODE_CHANNEL_FD']).toBeUndefined();
    expect(facts.sigintIgnored).toBe(false);
    await processes.stop(NAME);
    // Python saw the SIGINT and ended by itself.
    expect(await readFile(join(harness.root, `${NAME}.log`), 'utf8')).toBe(
      `[agent] ${NAME} starts: pid ${facts.pid}\nserving ${facts.pid}\nstopped\n`,
    );
    await eventually('the exit is told', () => exits().length > 0);
    expect(exits()[0]).toMatchObject({ exitCode: 0, signal: null, requested: true });
  });

  it('runs on the CPUs and with the niceness that its launch names, in the same process', async () => {
    const status = async (pid: number, name: string) =>
      new RegExp(`^${name}:\\s+(\\S+)$`, 'm').exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1];
    // The 19th field of the line, the 17th after the name.
    const nice = async (pid: number) => Number((await readFile(`/proc/${pid}/stat`, 'utf8')).split(') ')[1]?.split(' ')[16]);
    const mine = (await status(process.pid, 'Cpus_allowed_list')) ?? '';
    const cpu = /\d+$/.exec(mine)?.[0] ?? '0';
    await processes.start(harness.entry(NAME, { arguments: ['two words'], scheduling: { cpus: `${cpu},4000-4001`, nice: 7 } }));
    const facts = await harness.facts(NAME);
    expect((await processes.list())[0]?.pid).toBe(facts.pid);
    expect(await status(facts.pid, 'Cpus_allowed_list')).toBe(cpu);
    expect(await nice(facts.pid)).toBe((await nice(process.pid)) + 7);
    expect((await readFile(`/proc/${facts.pid}/cmdline`, 'utf8')).split('\0').slice(0, -1)).toEqual([
      '/usr/bin/python3',
      '-u',
      'main.py',
      'two words',
    ]);
  });

  it('starts although none of its CPUs is here, and says so in its log', async () => {
    await processes.start(harness.entry(NAME, { scheduling: { cpus: '4000-4003', nice: 0 } }));
    const facts = await harness.facts(NAME);
    const [state] = await processes.list();
    expect(state?.pid).toBe(facts.pid);
    expect(await readFile(join(harness.root, `${NAME}.log`), 'utf8')).toContain(
      '[agent] CPUs and niceness stay as they are: none of the CPUs 4000-4003',
    );
  });

  it('that ignores SIGINT is killed after its kill timeout, children included', async () => {
    await processes.start(harness.entry(NAME, { environment: { IGNORE_SIGINT: '1', WITH_CHILD: '1' } }));
    const facts = await harness.facts(NAME);
    const before = performance.now();
    await processes.stop(NAME);
    expect(performance.now() - before).toBeGreaterThanOrEqual(2_000);
    expect(harness.isAlive(facts.pid)).toBe(false);
    expect(harness.isAlive(facts.child ?? 0)).toBe(false);
    expect((await processes.list())[0]).toMatchObject({ status: 'stopped', pid: null });
  });

  it('that dies leaves no child beside its respawn', async () => {
    await processes.start(harness.entry(NAME, { environment: { WITH_CHILD: '1' } }));
    const facts = await harness.facts(NAME);
    process.kill(facts.pid, 'SIGKILL');
    const again = await harness.facts(NAME, facts.pid);
    expect(harness.isAlive(facts.child ?? 0)).toBe(false);
    expect(harness.isAlive(again.child ?? 0)).toBe(true);
  });

  it('that dies leaves nothing that made a session of its own, and a stop ends it too', async () => {
    const environment = { WITH_DETACHED_CHILD: '1', AGENT_ROOT: harness.root };
    await processes.start(harness.entry(NAME, { environment }));
    await processes.start(harness.entry('comfyui-gpu1', { environment }));
    const facts = await harness.facts(NAME);
    const other = await harness.facts('comfyui-gpu1');
    expect(harness.isAlive(facts.detached ?? 0)).toBe(true);
    process.kill(facts.pid, 'SIGKILL');
    const again = await harness.facts(NAME, facts.pid);
    expect(harness.isAlive(facts.detached ?? 0)).toBe(false);
    expect([again.detached, other.detached].map((pid) => harness.isAlive(pid ?? 0))).toEqual([true, true]);
    await processes.stop(NAME);
    expect(harness.isAlive(again.detached ?? 0)).toBe(false);
    expect(harness.isAlive(other.detached ?? 0)).toBe(true);
  });

  it('writes on when the daemon was killed', async () => {
    await processes.start(harness.entry(NAME));
    const facts = await harness.facts(NAME);
    await harness.killDaemon();
    await eventually('daemon-lost is told', () => events.some((event) => event.kind === 'daemon-lost'));
    process.kill(facts.pid, 'SIGINT');
    await eventually('python wrote its last line', async () =>
      (await readFile(join(harness.root, `${NAME}.log`), 'utf8')).endsWith('stopped\n'),
    );
  });

  it('whose python is missing tells so in its log, and its exit code', async () => {
    const entry = harness.entry(NAME);
    await processes.start({
      ...entry,
      args: entry.args.map((argument) => (argument === '/usr/bin/python3' ? '/nonexistent/python' : argument)),
    });
    await eventually('the exit is told', () => exits().length > 0);
    expect(exits()[0]).toMatchObject({ exitCode: 127, requested: false });
    expect(await readFile(join(harness.root, `${NAME}.log`), 'utf8')).toContain('/nonexistent/python');
  });

  it('whose log cannot be opened ends and is respawned when it can', async () => {
    const entry = harness.entry(NAME);
    const log = join(harness.root, 'later', 'instance.log');
    await processes.start({ ...entry, env: { ...entry.env, AGENT_LOG_FILE: log } });
    await eventually('the exit is told', () => exits().length > 1);
    expect(exits()[0]).toMatchObject({ exitCode: 2, requested: false });
    execFileSync('mkdir', [join(harness.root, 'later')]);
    await harness.facts(NAME);
  });

  it('may not set what PM2 itself reads', async () => {
    await expect(processes.start(harness.entry(NAME, { environment: { autorestart: 'false' } }))).rejects.toMatchObject({
      code: 'TEMPLATE_INVALID',
    });
    expect(await processes.list()).toEqual([]);
  });
});

describe('the daemon', () => {
  it('has its home to itself, a small environment, and no file of an earlier one', async () => {
    await processes.connect();
    const pid = await processes.daemonPid();
    expect(((await stat(join(harness.root, 'pm2'))).mode & 0o777).toString(8)).toBe('700');
    const environment = (await readFile(`/proc/${pid}/environ`, 'utf8')).split('\0').map((line) => line.split('=')[0]);
    expect(environment.filter((name) => name !== '').sort()).toEqual([
      'DAEMON_ONLY',
      'MALLOC_ARENA_MAX',
      'NODE_CHANNEL_FD',
      'NODE_CHANNEL_SERIALIZATION_MODE',
      'PATH',
      'PM2_HOME',
    ]);
  });

  it('leaves the standard streams and the environment of its client alone', async () => {
    const before = { ...process.env };
    await processes.connect();
    await processes.start(harness.entry(NAME));
    await harness.facts(NAME);
    expect({ ...process.env }).toEqual(before);
  });

  it('is one, however many agents start it at once', async () => {
    const clients = [processes, ...Array.from({ length: 4 }, () => harness.client())];
    await Promise.all(clients.map((client) => client.connect()));
    const pids = await Promise.all(clients.map((client) => client.daemonPid()));
    expect(new Set(pids).size).toBe(1);
    const home = `PM2_HOME=${join(harness.root, 'pm2')}`;
    await eventually('the others have ended', () => daemonsWith(home).length === 1);
  });

  it('that ends while starting is an error with its last words', async () => {
    const log = join(harness.root, 'failing.log');
    const failing = createProcesses({
      pm2Home: join(harness.root, 'failing'),
      mode: 'owned',
      daemonCommand: { file: process.execPath, args: ['-e', 'console.error("no such luck"); process.exit(7)'] },
      daemonLog: log,
      environment: {},
      log: silent,
    });
    await expect(failing.connect()).rejects.toMatchObject({
      code: 'PM2_UNAVAILABLE',
      message: expect.stringMatching(/exit code 7.*no such luck/),
      help: expect.stringContaining(log),
    });
    expect(((await stat(log)).mode & 0o777).toString(8)).toBe('600');
  });

  it('that cannot be executed is an error', async () => {
    const failing = createProcesses({
      pm2Home: join(harness.root, 'failing'),
      mode: 'owned',
      daemonCommand: { file: '/nonexistent/agent', args: [] },
      daemonLog: join(harness.root, 'failing.log'),
      environment: {},
      log: silent,
    });
    await expect(failing.connect()).rejects.toMatchObject({
      code: 'PM2_UNAVAILABLE',
      message: expect.stringContaining('/nonexistent/agent'),
    });
  });

  it('whose socket path is too long is refused with the length', async () => {
    const home = await mkdtemp(join(tmpdir(), 'x'.repeat(120)));
    try {
      const long = createProcesses({
        pm2Home: home,
        mode: 'owned',
        daemonCommand: { file: 'false', args: [] },
        daemonLog: join(home, 'log'),
        environment: {},
        log: silent,
      });
      await expect(long.connect()).rejects.toMatchObject({ code: 'CONFIG_INVALID', message: expect.stringContaining('107') });
      await expect(long.list()).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
    } finally {
      await rm(home, { recursive: true });
    }
  });

  it('that hangs is unavailable after the time limit, not for ever', async () => {
    await processes.connect();
    const pid = (await processes.daemonPid()) ?? 0;
    process.kill(pid, 'SIGSTOP');
    try {
      await expect(processes.list()).rejects.toMatchObject({ code: 'PM2_UNAVAILABLE', message: expect.stringContaining('2000 ms') });
    } finally {
      process.kill(pid, 'SIGCONT');
    }
    expect(await processes.list()).toEqual([]);
  });

  it('that hangs is ended by a shutdown all the same', async () => {
    await processes.connect();
    const pid = (await processes.daemonPid()) ?? 0;
    process.kill(pid, 'SIGSTOP');
    await processes.shutdown();
    expect(harness.isAlive(pid)).toBe(false);
  });

  it('that hangs is left alone until it is to be replaced; then its instances run on, and a stranger is never ended', async () => {
    await processes.connect();
    await processes.start(harness.entry(NAME));
    const facts = await harness.facts(NAME);
    const pid = (await processes.daemonPid()) ?? 0;
    const home = join(harness.root, 'pm2');
    process.kill(pid, 'SIGSTOP');
    await expect(processes.connect()).rejects.toMatchObject({ code: 'PM2_UNAVAILABLE', details: { timedOut: true } });
    expect(harness.isAlive(pid)).toBe(true);
    // Same home in its environment, same words in its command line, but it is not who holds the lock.
    const stranger = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)', '__pm2-daemon', home], { env: { PM2_HOME: home } });
    try {
      await processes.connect({ replace: true });
      expect(harness.isAlive(pid)).toBe(false);
      expect(harness.isAlive(facts.pid)).toBe(true);
      expect(stranger.exitCode ?? stranger.signalCode).toBeNull();
      expect(await processes.list()).toEqual([]);
      // Nobody is in the way of the next one.
      await processes.connect({ replace: true });
    } finally {
      stranger.kill('SIGKILL');
    }
  }, 20_000);

  it('survives nonsense on its socket', async () => {
    await processes.connect();
    const socketPath = join(harness.root, 'pm2', 'rpc.sock');
    await expect(callDaemon(socketPath, { method: 'prepare', argument: {}, timeoutMs: 200 })).rejects.toMatchObject({
      code: 'PM2_UNAVAILABLE',
    });
    await expect(callDaemon(socketPath, { method: 'noSuchMethod', argument: {}, timeoutMs: 200 })).rejects.toMatchObject({
      code: 'INSTANCE_FAILED',
    });
    const socket = createConnection(socketPath);
    await new Promise((resolve) => socket.once('connect', resolve));
    await new Promise<void>((resolve) => socket.end('\x13\x37 not what PM2 speaks', resolve));
    expect(await processes.list()).toEqual([]);
  });

  it('stops many entries side by side', async () => {
    await processes.connect();
    const names = Array.from({ length: 3 }, (_, gpu) => `comfyui-gpu${gpu}`);
    await Promise.all(names.map((name) => processes.start(harness.entry(name, { environment: { IGNORE_SIGINT: '1' } }))));
    const pids = await Promise.all(names.map(async (name) => (await harness.facts(name)).pid));
    const before = performance.now();
    await processes.shutdown();
    // Each needs its whole kill timeout of 2 s.
    expect(performance.now() - before).toBeLessThan(2 * 2_000);
    expect(pids.filter(harness.isAlive)).toEqual([]);
  });

  it('stops its entries on SIGTERM, and takes over from one that was killed', async () => {
    await processes.connect();
    await processes.start(harness.entry(NAME));
    const { pid } = await harness.facts(NAME);
    process.kill((await processes.daemonPid()) ?? 0, 'SIGTERM');
    await eventually('the entry has ended', () => !harness.isAlive(pid));
    await eventually('the daemon has ended', async () => (await processes.daemonPid()) === null);
    await expect(stat(join(harness.root, 'pm2', 'dump.pm2'))).rejects.toMatchObject({ code: 'ENOENT' });
    await processes.connect();
    await harness.killDaemon();
    await eventually('the daemon has ended', async () => (await processes.daemonPid()) === null);
    await processes.connect();
    expect(await processes.list()).toEqual([]);
  });
});

describe('an external daemon', () => {
  it('is waited for, not started; outlives its clients; is listened to again when it comes back', async () => {
    const external = await realHarness({ mode: 'external' });
    const client = external.client();
    const told: ProcessEvent[] = [];
    client.onEvent((event) => told.push(event));
    const startUnit = () =>
      spawn(process.execPath, [join(import.meta.dirname, '../../support/pm2/daemon.ts')], {
        env: { PATH: process.env['PATH'], PM2_HOME: join(external.root, 'pm2') },
        stdio: 'ignore',
      });
    const units: ReturnType<typeof startUnit>[] = [];
    try {
      await expect(client.connect()).rejects.toMatchObject({ code: 'PM2_UNAVAILABLE', help: expect.stringContaining('comfylet-pm2') });
      units.push(startUnit());
      await eventually('connected', async () => {
        await client.connect();
        return true;
      });
      await client.start(external.entry(NAME));
      const { pid } = await external.facts(NAME);
      const second = external.client();
      await second.connect();
      await second.shutdown();
      expect(external.isAlive(pid)).toBe(true);
      process.kill((await client.daemonPid()) ?? 0, 'SIGTERM');
      await eventually('daemon-lost is told', () => told.some((event) => event.kind === 'daemon-lost'));
      await eventually('the unit has ended', () => units[0]?.exitCode === 0);
      units.push(startUnit());
      await eventually('it answers again', async () => (await client.list()).length === 0);
      told.length = 0;
      await client.start(external.entry(NAME));
      await eventually('events come again', () => told.some((event) => event.kind === 'online'));
    } finally {
      await external.close();
      for (const unit of units) if (unit.exitCode === null) unit.kill('SIGKILL');
    }
  });
});

const silent: Logger = { debug() {}, info() {}, warn() {}, error() {}, child: () => silent };

/** pids of the processes that have this line in their environment and are daemons, not entries. */
function daemonsWith(line: string): readonly string[] {
  const found = execFileSync('sh', ['-c', 'grep -lzxF -- "$1" /proc/[0-9]*/environ 2>/dev/null || true', 'sh', line], { encoding: 'utf8' });
  return found.split('\n').filter((path) => path !== '');
}
