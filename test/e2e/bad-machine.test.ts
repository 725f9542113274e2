import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { appendFile, chmod, mkdir, readlink, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import type { InstallationDocument } from '../../src/domain/health.ts';
import { AGENT, baseEnvironment, freePorts, newRoot, startAgent, stopAgents, type TestAgent } from '../support/agent.ts';
import { eventually } from '../support/eventually.ts';
import { attempt, attemptWith, editConfig, isAlive, pidsOf, untilHealthy, untilHeld, untilInstance } from '../support/scene.ts';

/** What is wrong with the machine is named with its remedy, and costs nothing that runs. */

const isRoot = process.getuid?.() === 0;
const mayMount = isRoot && spawnSync('unshare', ['-m', 'true']).status === 0;
/** Gives the command a small disk of its own at a directory, which nobody else sees. */
const withSmallDisk = (directory: string, size: string, then = 'true'): readonly string[] => [
  ...['unshare', '-m', 'sh', '-c'],
  // A size, or any option of tmpfs.
  `mount -t tmpfs -o ${size.includes('=') ? size : `size=${size}`},mode=755 tmpfs "$1" && cd "$1" && ${then}; cd /; shift; exec "$@"`,
  ...['sh', directory],
];
const FILL = 'dd if=/dev/zero of=filler bs=4k 2>/dev/null';

afterEach(stopAgents);

describe('a disk that is full', () => {
  it('is seen before an installation is begun', async ({ skip }) => {
    if (!mayMount) return skip('a small disk needs root and the right to mount');
    const root = await newRoot();
    const install = await attemptWith([...withSmallDisk(root, '24m'), process.execPath, AGENT, 'install', '--root', root], {
      ...baseEnvironment(),
      COMFYUI_REPO: 'simulator:',
      MOCK_GPU: '1',
    });
    expect(install.stderr).toMatch(/^error\[DISK_FULL\]: \S+ has 2\d MiB free; an installation is not begun below 512 MiB$/m);
    expect(install.stderr).toMatch(/^help: free space, move the root, lower releases\.keep, or lower install\.minFreeDiskMb$/m);
    expect(install.code).toBe(1);
  });

  it('keeps the agent from starting, with that reason', async ({ skip }) => {
    if (!mayMount) return skip('a small disk needs root and the right to mount');
    const root = await newRoot();
    const run = await attemptWith([...withSmallDisk(root, '64k', FILL), process.execPath, AGENT, 'run', '--root', root], baseEnvironment());
    expect(run.stderr).toMatch(/^error\[DISK_FULL\]: /m);
    expect(run.stderr).toMatch(/^help: free space or move the root; `df -h` and `df -i` show what is full$/m);
    expect(run.code).toBe(1);
  });

  it('in the middle of an installation leaves the release in place, and the next one works', async ({ skip }) => {
    if (!mayMount) return skip('a small disk needs root and the right to mount');
    const root = await newRoot();
    const releases = join(root, 'releases');
    await mkdir(releases);
    const agent = await startAgent({ gpus: 1, root, prefix: withSmallDisk(releases, '8m') });
    await agent.untilReady([0]);
    const pids = await pidsOf(agent);
    const current = await readlink(join(root, 'current'));

    // Its small disk, as only the agent and its children see it.
    const filler = `/proc/${agent.pid}/root${current}/filler`;
    await expect(fill(filler)).rejects.toThrow(/ENOSPC/);
    const full = await agent.cli('reinstall');
    expect(full.stderr).toMatch(/^error\[DISK_FULL\]: /m);
    expect(full.stderr).toMatch(/^help: .*df -h/m);
    expect(full.code).toBe(1);
    expect((await agent.get('/health/comfyui/installation')).body).toMatchObject({ status: 'installed', lastError: { code: 'DISK_FULL' } });
    expect(await pidsOf(agent)).toEqual(pids);
    expect((await agent.get('/ready')).status).toBe(200);
    expect(await readlink(join(root, 'current'))).toBe(current);

    await rm(filler);
    expect(await agent.cli('reinstall')).toMatchObject({ code: 0 });
    expect(await readlink(join(root, 'current'))).not.toBe(current);
    await untilHealthy(agent);
  });
});

describe('a disk that takes no more files', () => {
  it('is told by its inodes; a verb whose wish cannot be saved does nothing, and the next agent knows of none', async ({ skip }) => {
    if (!mayMount) return skip('a small disk needs root and the right to mount');
    const root = await newRoot();
    const state = join(root, 'state');
    await mkdir(state);
    const agent = await startAgent({ gpus: 2, root, prefix: withSmallDisk(state, 'size=64m,nr_inodes=60') });
    await agent.untilReady([0, 1]);
    const pids = await pidsOf(agent);
    // Its small disk, as only the agent and its children see it.
    const seen = `/proc/${agent.pid}/root${state}`;
    const fillers = await useUpInodes(seen);
    for (const words of [['restart', '0'], ['restart', '0', '--drain'], ['stop', '1'], ['drain', 'all'], ['cordon', '0'], ['reinstall']]) {
      const verb = await agent.cli(...words);
      expect(verb.stderr, words.join(' ')).toMatch(
        /^error\[DISK_FULL\]: \S*intents\.json\S* could not be written: .*\(0 of 60 inodes free\)$/m,
      );
      expect(verb.code, words.join(' ')).toBe(1);
    }
    expect(
      await eventually(
        'status names the inodes',
        async () => {
          const { stdout } = await agent.cli('status');
          return /has 0 of 60 inodes free \(and 6\d MiB free of 64 MiB\)/.test(stdout) ? stdout : null;
        },
        90_000,
      ),
    ).not.toContain('it is full in');
    expect(await pidsOf(agent)).toEqual(pids);
    expect((await agent.get('/health/comfyui/instances/0')).body).toMatchObject({ ready: true, cordoned: false });

    for (const filler of fillers) await rm(filler);
    expect(await agent.cli('restart', '0')).toMatchObject({ code: 0 });
    expect((await pidsOf(agent))[0]).not.toBe(pids[0]);
    expect((await pidsOf(agent))[1]).toBe(pids[1]);
  });
});

async function useUpInodes(directory: string): Promise<readonly string[]> {
  const made: string[] = [];
  for (;;) {
    const path = join(directory, `filler-${made.length}`);
    try {
      await appendFile(path, '');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOSPC') return made;
      throw error;
    }
    made.push(path);
  }
}

async function fill(path: string): Promise<never> {
  for (;;) await appendFile(path, Buffer.alloc(64 * 1024));
}

describe('a python that is missing', () => {
  it('is named on a bare root', async () => {
    const root = await newRoot();
    const install = await attempt(
      root,
      { ...baseEnvironment(), COMFYUI_REPO: 'simulator:', MOCK_GPU: '1', PYTHON: '/nonexistent/python' },
      ['install'],
    );
    expect(install.stderr).toMatch(/^error\[PYTHON_MISSING\]: .*\/nonexistent\/python/m);
    expect(install.stderr).toMatch(/^help: .*PYTHON/m);
    expect(install.code).toBe(1);
  });

  it('leaves the release in place', async () => {
    const agent = await startAgent({ gpus: 1 });
    await agent.untilReady([0]);
    const pids = await pidsOf(agent);
    await editConfig(agent.root, { python: { interpreter: '/nonexistent/python' } });
    await untilHeld(agent, 'installation', 'INSTALLATION_DIFFERS');
    const install = await agent.cli('install');
    expect(install.stderr).toContain('error[PYTHON_MISSING]: ');
    expect(install.code).toBe(1);
    expect((await agent.get('/health/comfyui/installation')).body as InstallationDocument).toMatchObject({
      lastError: { code: 'PYTHON_MISSING' },
    });
    expect(await pidsOf(agent)).toEqual(pids);
  });
});

describe('a root', () => {
  it('that another agent owns is refused with its name, by every path that leads there', async () => {
    const agent = await startAgent({ gpus: 1 });
    await agent.untilReady([0]);
    const pids = await pidsOf(agent);
    const alias = `${await newRoot()}/alias`;
    await symlink(agent.root, alias);
    for (const root of [agent.root, alias]) {
      const second = await attempt(root, agent.environment, ['run', '--port', '0']);
      expect(second.stderr).toMatch(new RegExp(`^error\\[ROOT_LOCKED\\]: ${root} is in use by agent run \\(pid ${agent.pid}\\)$`, 'm'));
      expect(second.stderr).toMatch(/^help: use that agent \(`agent status`\), or stop it first$/m);
      expect(second.code).toBe(5);
    }
    expect(await pidsOf(agent)).toEqual(pids);
    expect((await agent.cli('status')).code).toBe(0);
  });

  it('with what a killed agent left behind is started on again, and its instances go on', async () => {
    const agent = await startAgent({ gpus: 1 });
    await agent.untilReady([0]);
    const pids = await pidsOf(agent);
    await agent.kill();
    // Its socket is still there, and nobody answers.
    expect(await agent.cli('status')).toMatchObject({ code: 4 });
    expect((await agent.cli('restart', '0')).stderr).toContain('error[AGENT_NOT_RUNNING]: ');
    const next = await startAgent({ gpus: 1, root: agent.root, firstPort: agent.firstPort });
    await next.untilReady([0]);
    expect(await pidsOf(next)).toEqual(pids);
    expect((await next.cli('status')).code).toBe(0);
  });

  it('that cannot be written is refused, with what to do', async ({ skip }) => {
    const parent = await newRoot();
    await chmod(parent, 0o555);
    const asOther = ['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups'];
    if (isRoot && spawnSync('setpriv', [...asOther.slice(1), process.execPath, AGENT, '--version']).status !== 0)
      return skip('the program cannot be run by another user here');
    const run = await attemptWith(
      [...(isRoot ? asOther : []), process.execPath, AGENT, 'run', '--root', join(parent, 'root')],
      baseEnvironment(),
    );
    expect(run.stderr).toMatch(/^error\[ROOT_NOT_WRITABLE\]: .* could not be written: permission denied$/m);
    expect(run.stderr).toMatch(/^help: create it for this user, or choose another with --root or AGENT_ROOT$/m);
    expect(run.code).toBe(1);
  });
});

describe('a port that a stranger holds', () => {
  const strangers: ChildProcess[] = [];
  afterEach(() => {
    for (const stranger of strangers.splice(0)) stranger.kill('SIGKILL');
  });

  /** Listens, and writes down every signal it is sent. */
  const startStranger = async (port: number): Promise<{ child: ChildProcess; said: () => string }> => {
    const script = `for (const s of ['SIGTERM','SIGINT','SIGHUP','SIGUSR1','SIGUSR2']) process.on(s, () => console.log(s));
      require('net').createServer((c) => c.destroy()).listen(${port}, '127.0.0.1', () => console.log('listening'))`;
    const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    strangers.push(child);
    let said = '';
    child.stdout?.on('data', (chunk) => (said += String(chunk)));
    await once(child.stdout ?? child, 'data');
    return { child, said: () => said };
  };

  it('holds that instance by its name, and the others run', async () => {
    const firstPort = await freePorts(2);
    const { child, said } = await startStranger(firstPort);
    const agent = await startAgent({ gpus: 2, firstPort });
    await agent.untilReady([1]);
    const hold = await untilHeld(agent, 'instance 0', 'PORT_HELD');
    expect(hold.reason).toMatch(new RegExp(`^port ${firstPort} is held by pid ${child.pid} \\(.*node`));
    expect(hold.help).toContain('ports.onConflict');
    expect(await agent.instance(0)).toMatchObject({ ready: false, pid: null, hold: hold.reason });
    const ports = await agent.json<{ ports: { gpu: number; holder: { pid: number } | null; ours: boolean | null }[] }>('ports');
    expect(ports.ports[0]).toMatchObject({ gpu: 0, holder: { pid: child.pid } });
    const start = await agent.cli('start', '0');
    expect(start.code).toBe(5);
    expect(start.stderr).toContain(`pid ${child.pid}`);

    // Once it has gone the instance follows by itself, on its own port.
    expect(said()).toBe('listening\n');
    child.kill('SIGKILL');
    const freed = await untilInstance(agent, 0, 'ready', (instance) => instance.ready);
    expect(freed.port).toBe(firstPort);
  });

  it('is passed over with ports.onConflict next, and the stranger is left alone', async () => {
    const firstPort = await freePorts(20);
    const { child, said } = await startStranger(firstPort);
    const agent: TestAgent = await startAgent({ gpus: 2, firstPort, config: { ports: { first: firstPort, onConflict: 'next' } } });
    await agent.untilReady([0, 1]);
    const moved = await agent.instance(0);
    expect(moved.port).not.toBe(firstPort);
    expect(moved.port).toBeGreaterThan(firstPort + 1);
    expect((await agent.instance(1)).port).toBe(firstPort + 1);
    await agent.stop();
    expect(isAlive(child.pid ?? null)).toBe(true);
    expect(said()).toBe('listening\n');
  });
});
