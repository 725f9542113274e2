import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { appendFile, chmod, mkdir, readdir, readFile, readlink, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import type { HealthDocument, InstallationDocument } from '../../../src/domain/health/health.ts';
import { AGENT, baseEnvironment, freePorts, newRoot, startAgent, stopAgents, type TestAgent } from '../../support/agent/agent.ts';
import { attempt, attemptWith, editConfig, isAlive, pidsOf, untilHealthy, untilHeld, untilInstance } from '../../support/agent/scene.ts';
import { eventually } from '../../support/eventually.ts';

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

  it('does not keep the agent from starting: it says so, cleans up, and takes jobs', async ({ skip }) => {
    if (!mayMount) return skip('a small disk needs root and the right to mount');
    const root = await newRoot();
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=32m,mode=755', 'none', root]);
    try {
      const options = {
        gpus: 1,
        root,
        config: {
          pm2: { mode: 'owned' },
          install: { minFreeDiskMb: 0 },
          disk: { warnFreeMb: 2, minFreeMb: 1, warnFullWithinMs: 0 },
          cleanup: { whenLow: ['temp'], minAgeMs: 1_000, periodMs: 0 },
        },
      };
      const before = await startAgent(options);
      await before.untilReady([0]);
      expect(await before.stop()).toBe(0);
      const old = join(root, 'instances/gpu0/temp/old.png');
      await mkdir(dirname(old), { recursive: true });
      await writeFile(old, Buffer.alloc(8 * 1024 * 1024));
      await utimes(old, new Date(0), new Date(0));
      await expect(fill(join(root, 'filler'))).rejects.toThrow(/ENOSPC/);

      const agent = await startAgent(options);
      expect((await agent.get('/health')).status).toBe(200);
      const told = await eventually('the full disk is told', async () => {
        const { reasons } = (await agent.get('/health/comfyui')).body as HealthDocument;
        if (!reasons.some((reason) => /journal is kept in memory: .*full/.test(reason))) throw new Error(reasons.join('; '));
        return (await agent.cli('status')).stdout;
      });
      expect(told.replaceAll(/\s+/g, ' ')).toMatch(/the disk is full/);
      await eventually('it cleaned up', () => !existsSync(old), 60_000);
      await agent.untilReady([0]);
      await eventually('nothing is told any more', async () => {
        const { reasons } = (await agent.get('/health/comfyui')).body as HealthDocument;
        expect(reasons.filter((reason) => /journal|cannot be put/.test(reason))).toEqual([]);
        return true;
      });
      expect(JSON.parse(await readFile(join(root, 'run/agent.json'), 'utf8'))).toMatchObject({ pid: agent.pid });
      expect((await agent.cli('logs', 'agent')).stdout).toMatch(/agent \S+ starts on/);
      await agent.stop();
    } finally {
      execFileSync('umount', ['--lazy', root]);
    }
  });

  it('nor do a disk that takes no more files and one that is read-only', async ({ skip }) => {
    if (!mayMount) return skip('a small disk needs root and the right to mount');
    const config = join(await newRoot(), 'agent.yaml');
    await writeFile(config, 'api: { port: 0 }\ngpu: { mode: mock, mockCount: 1 }\ncomfyui: { repository: "simulator:" }\n');
    for (const [then, told] of [
      ['i=0; while touch "$i" 2>/dev/null; do i=$((i+1)); done', /the disk takes no more files \(0 of \d+ inodes free\)/],
      ['mount -o remount,ro .', /the filesystem is read-only/],
    ] as const) {
      const root = await newRoot();
      const [file = '', ...args] = [...withSmallDisk(root, 'size=4m,nr_inodes=64', then), process.execPath, AGENT, 'run', '--root', root];
      const child = spawn(file, args, { env: { ...baseEnvironment(), AGENT_CONFIG: config }, stdio: ['ignore', 'ignore', 'pipe'] });
      const exited = once(child, 'exit');
      let text = '';
      child.stderr.on('data', (chunk) => (text += String(chunk)));
      try {
        const url = await eventually('it serves', () => /^serving (\S+) and /m.exec(text)?.[1] ?? Promise.reject(new Error(text)), 20_000);
        await eventually(
          'the reason is told',
          async () => {
            const { reasons } = (await (await fetch(`${url}/health/comfyui`)).json()) as HealthDocument;
            expect(reasons.join('\n')).toMatch(told);
            // PM2 has nowhere to live either: the agent outlives the attempt.
            expect(reasons.join('\n')).toMatch(/PM2/);
            return true;
          },
          30_000,
        );
        expect(child.exitCode).toBeNull();
      } finally {
        child.kill('SIGKILL');
        await exited;
      }
    }
  }, 120_000);

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

describe('the run directory', () => {
  it('comes back with its socket and files when somebody deletes it, and the instances go on', async () => {
    const agent = await startAgent({ gpus: 1 });
    await agent.untilReady([0]);
    const pids = await pidsOf(agent);
    const run = join(agent.root, 'run');
    const about = await readFile(join(run, 'agent.json'), 'utf8');
    for (const round of [1, 2]) {
      // The agent may put a file back in the middle of it.
      await rm(run, { recursive: true, maxRetries: 50, retryDelay: 10 });
      await eventually(`all is there again, ${round}`, async () => {
        // A file that is just being written has another name for a moment.
        expect((await readdir(run)).sort()).toEqual(['agent.json', 'agent.sock', 'instances.env', 'instances.json']);
        return true;
      });
      expect(await readFile(join(run, 'agent.json'), 'utf8')).toBe(about);
      expect(await readFile(join(run, 'instances.env'), 'utf8')).toContain(`COMFYUI_GPU0_PORT=${agent.firstPort}`);
      expect((await stat(join(run, 'agent.sock'))).mode & 0o777).toBe(0o600);
      // A change needs no token over the socket.
      expect(await agent.cli('cordon', '0')).toMatchObject({ code: 0 });
      expect(await agent.cli('uncordon', '0')).toMatchObject({ code: 0 });
    }
    expect(await pidsOf(agent)).toEqual(pids);
  });
});

describe('the journal', () => {
  it('is begun anew when it was damaged, which is told until somebody looked', async () => {
    const agent = await startAgent({ gpus: 1 });
    await agent.untilReady([0]);
    expect(await agent.stop()).toBe(0);
    const path = join(agent.root, 'state/agent.db');
    await writeFile(path, Buffer.alloc(Math.max(20_000, (await stat(path)).size), 0xa5));
    const next = await startAgent({ gpus: 1, root: agent.root });
    await next.untilReady([0]);
    const told = /a file of the agent's state was damaged, and what it held is lost: \S+agent\.db\.damaged/;
    await eventually('status tells it', async () => told.test((await next.cli('status')).stdout.replaceAll(/\s+/g, ' ')));
    expect((await next.cli('doctor')).stdout.replaceAll(/\s+/g, ' ')).toMatch(told);
    expect((await next.cli('logs', 'agent')).stdout).toMatch(/agent\.db was damaged; it was set aside/);
    await rm(`${path}.damaged`);
    await untilHealthy(next);
  });
});

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
