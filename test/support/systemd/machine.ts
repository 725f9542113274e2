import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, realpathSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { request as httpRequest } from 'node:http';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import type { InstanceDocument } from '../../../src/domain/instances/instance.ts';
import { eventually } from '../eventually.ts';
import { makeCgroup, removeCgroup, whyNoCgroup } from './cgroup.ts';
import { installUnits, type MachineOptions, OPT } from './install.ts';

/**
 * A machine with a real systemd as PID 1: namespaces of its own for processes, mounts, network, host name and control groups.
 * Nothing is written to the host but one control group, which is removed with it.
 */

const HERE = import.meta.dirname;
const REPOSITORY = resolve(HERE, '../../..');
/** From util-linux, as unshare and setpriv are. */
const NSENTER = '/usr/bin/nsenter';
const BOOT_LIMIT_MS = 60_000;
const SYSTEMD = '/lib/systemd/systemd';
/** As systemd has it; the caller's has nothing to do with what is inside. */
const SYSTEM_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** What a machine is made of. */
export interface MachineRoot {
  /** Script beside this file that mounts it at DIRECTORY/root, says so with a line, and holds it until its input ends. */
  readonly script: string;
  /** Its arguments, after DIRECTORY. */
  readonly args: readonly string[];
  /** What it boots to. */
  readonly target: string;
  /** Shares the host's network; else it has a loopback and nothing else. */
  readonly hostNetwork?: boolean;
}

export interface CommandResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface SystemdMachine {
  /** Its root as seen from outside, for files. */
  at(path: string): string;
  write(path: string, text: string, mode?: number): Promise<void>;
  /** @param settles waits until systemd has nothing more to do, which takes a share of a small machine */
  boot(settles?: boolean): Promise<void>;
  /** Orderly end of everything, as a reboot would; `boot` goes on with the same root. */
  powerOff(): Promise<void>;
  /** Runs a command inside; without one of `users` as root. */
  run(command: readonly string[], options?: { readonly user?: string; readonly limitMs?: number }): Promise<CommandResult>;
  /** Runs a command on its root from outside, with the host's network: whether it is booted or not does not matter. */
  runOnRoot(command: readonly string[], limitMs?: number): Promise<CommandResult>;
  /** The same, and it must succeed. */
  must(...command: string[]): Promise<string>;
  property(unit: string, name: string): Promise<string>;
  /** Its first process, seen from outside. */
  pid(): number;
  /** Pid inside of the unit's main process. */
  mainPid(unit: string): Promise<number>;
  /** Command lines of all processes inside of a user, by pid inside. */
  processesOf(user: string): Promise<ReadonlyMap<number, string>>;
  get(path: string): Promise<{ readonly status: number; readonly body: unknown }>;
  instances(): Promise<readonly InstanceDocument[]>;
  untilReady(count: number, limitMs?: number): Promise<readonly InstanceDocument[]>;
  /** What the journal has of the units, for failures. */
  journal(): Promise<string>;
  close(): Promise<void>;
}

/** Why there can be no such machine here; null: there can. */
export function whyNoSystemd(): string | null {
  if (process.platform !== 'linux') return 'not Linux';
  if (process.getuid?.() !== 0) return 'not root';
  if (!existsSync(SYSTEMD)) return 'systemd is not installed (Debian package systemd)';
  const noCgroup = whyNoCgroup();
  if (noCgroup !== null) return noCgroup;
  const script =
    'mount -t tmpfs t /mnt && mkdir /mnt/u /mnt/w /mnt/r && mount -t overlay -o lowerdir=/,upperdir=/mnt/u,workdir=/mnt/w o /mnt/r';
  const unshared = spawnSync(
    'unshare',
    ['--mount', '--propagation', 'private', '--pid', '--fork', '--cgroup', '--uts', '--ipc', '--net', 'sh', '-c', script],
    { encoding: 'utf8' },
  );
  return unshared.status === 0 ? null : `namespaces and overlays are not allowed: ${(unshared.stderr || String(unshared.error)).trim()}`;
}

/** On an overlay of this machine's root, with the agent and its units as an installation leaves them; nothing runs yet. */
export async function aSystemdMachine(options: MachineOptions = {}): Promise<SystemdMachine> {
  const binary = options.program ?? process.env['AGENT_BINARY'];
  const shown: readonly (readonly [string, string])[] =
    options.program !== undefined
      ? []
      : binary === undefined
        ? [
            [join(REPOSITORY, 'dist'), `${OPT}/dist`],
            [realpathSync(process.execPath), `${OPT}/node`],
          ]
        : [[realpathSync(binary), '/usr/local/bin/agent']];
  const machine = await aMachineOn({
    script: 'root.sh',
    args: [shown.map((pair) => pair.join('=')).join(',')],
    target: 'agent-test.target',
  });
  if (options.program !== undefined) copyFileSync(options.program, machine.at('/usr/local/bin/agent'));
  await installUnits(machine.at, machine.write, binary !== undefined, options);
  return machine;
}

/** Mounts the root; nothing runs yet. */
export async function aMachineOn({ script, args, target, hostNetwork = false }: MachineRoot): Promise<SystemdMachine> {
  const base = await mkdtemp(join(tmpdir(), 'agent-systemd-'));
  const holder = spawn(
    'setpriv',
    [...['--pdeathsig', 'KILL', 'unshare', '--mount', '--propagation', 'private', 'bash', join(HERE, script), base], ...args],
    { stdio: ['pipe', 'pipe', 'inherit'] },
  );
  await new Promise<void>((done, failed) => {
    holder.stdout.once('data', () => done());
    holder.once('exit', (code) => failed(new Error(`the root could not be mounted: ${code}`)));
  });
  const cgroup = makeCgroup(`comfylet-test-${process.pid}-${holder.pid}`);
  const root = `/proc/${holder.pid}/root${base}/root`;
  const at = (path: string): string => join(root, path);
  const write = async (path: string, text: string, mode = 0o644): Promise<void> => {
    await mkdir(dirname(at(path)), { recursive: true });
    await writeFile(at(path), text, { mode });
  };

  let init: { readonly child: ChildProcess; readonly pid: number; readonly ended: Promise<unknown> } | null = null;
  const inside = (): number => {
    if (init === null) throw new Error('the machine is not running');
    return init.pid;
  };
  const machine: SystemdMachine = {
    at,
    write,
    boot: async (settles = true) => {
      // The shell goes into the control group before it makes the namespace of control groups.
      // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the shell's.
      const enter = 'echo $$ >"$0/cgroup.procs"; exec nsenter -t "$1" -m env -i container=agent-test PATH="$PATH" "${@:2}"';
      const unshare = [
        'unshare',
        '--mount',
        '--propagation',
        'private',
        '--pid',
        '--fork',
        '--kill-child',
        '--cgroup',
        '--uts',
        '--ipc',
        ...(hostNetwork ? [] : ['--net']),
      ];
      const child = spawn(
        'setpriv',
        [
          ...['--pdeathsig', 'KILL', 'bash', '-c', enter, cgroup, String(holder.pid)],
          ...[...unshare, 'bash', join(HERE, 'boot.sh'), join(base, 'root'), target],
        ],
        { stdio: ['ignore', 'ignore', 'pipe'] },
      );
      const ended = new Promise((done) => child.once('exit', done));
      let said = '';
      child.stderr.on('data', (chunk) => (said += String(chunk)));
      const pid = await eventually('systemd is PID 1', async () => {
        if (child.exitCode !== null) throw new Error(`it ended with ${child.exitCode}: ${said}`);
        const first = Number((await readFile(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8')).trim());
        return (await readFile(`/proc/${first}/comm`, 'utf8')).trim() === 'systemd' ? first : null;
      });
      init = { child, pid, ended };
      if (!settles) return;
      await eventually(
        'systemd is up',
        async () => /^(running|degraded)/.test((await machine.run(['systemctl', 'is-system-running'])).stdout),
        BOOT_LIMIT_MS,
      );
    },
    powerOff: async () => {
      const before = init;
      if (before === null) return;
      await machine.run(['systemctl', 'poweroff', '--no-block']);
      await Promise.race([
        before.ended,
        new Promise((_, failed) => setTimeout(() => failed(new Error('it does not power off')), BOOT_LIMIT_MS)),
      ]);
      init = null;
    },
    run: (command, { user, limitMs = 60_000 } = {}) => {
      const as = user === undefined ? [] : ['setpriv', '--reuid', user, '--regid', user, '--init-groups', '--inh-caps=-all'];
      const words = ['-t', String(inside()), '-m', '-p', '-n', '-C', '-u', '-i', '-r', '-w', ...as, ...command];
      return nsenter(words, limitMs);
    },
    runOnRoot: (command, limitMs = 60_000) => nsenter(['-t', String(holder.pid), '-m', 'chroot', join(base, 'root'), ...command], limitMs),
    must: async (...command) => {
      const { code, stdout, stderr } = await machine.run(command);
      if (code !== 0) throw new Error(`${command.join(' ')} ended with ${code}: ${stderr}\n${await machine.journal()}`);
      return stdout;
    },
    pid: inside,
    property: async (unit, name) => (await machine.must('systemctl', 'show', '--property', name, '--value', unit)).trim(),
    mainPid: async (unit) => Number(await machine.property(unit, 'MainPID')),
    processesOf: async (user) => {
      const { stdout } = await machine.run(['pgrep', '-a', '-u', user]);
      return new Map(
        stdout
          .split('\n')
          .filter((line) => line !== '')
          .map((line) => [Number(line.split(' ')[0]), line.slice(line.indexOf(' ') + 1)]),
      );
    },
    get: (path) => overItsSocket(`/proc/${inside()}/root/run/comfylet/agent.sock`, path),
    instances: async () => ((await machine.get('/health/comfyui/instances')).body as { instances: InstanceDocument[] }).instances,
    untilReady: async (count, limitMs = BOOT_LIMIT_MS) =>
      eventually(
        `${count} instances are ready`,
        async () => {
          const instances = await machine.instances();
          if (instances.length === count && instances.every(({ ready }) => ready)) return instances;
          throw new Error(JSON.stringify(instances.map(({ gpu, status, layers, hold }) => ({ gpu, status, hold, layers }))));
        },
        limitMs,
      ).catch(async (error: unknown) => {
        throw new Error(`${String(error)}\n${await machine.journal()}`, { cause: error });
      }),
    journal: async () => (await machine.run(['journalctl', '--no-pager', '-o', 'short-monotonic', '-n', '120'])).stdout,
    close: async () => {
      if (init !== null) {
        process.kill(init.pid, 'SIGKILL');
        await init.ended;
        init = null;
      }
      holder.stdin.end();
      await new Promise((done) => (holder.exitCode === null ? holder.once('exit', done) : done(null)));
      await removeCgroup(cgroup);
      await rm(base, { recursive: true, force: true });
    },
  };
  return machine;
}

function nsenter(words: readonly string[], limitMs: number): Promise<CommandResult> {
  const options = { timeout: limitMs, env: { PATH: SYSTEM_PATH, SYSTEMD_PAGER: '' }, maxBuffer: 64 * 1024 * 1024 };
  return new Promise((done) => {
    execFile(NSENTER, words, options, (error, stdout, stderr) =>
      done({ code: error === null ? 0 : typeof error.code === 'number' ? error.code : null, stdout, stderr }),
    );
  });
}

function overItsSocket(socketPath: string, path: string): Promise<{ status: number; body: unknown }> {
  return new Promise((done, failed) => {
    const request = httpRequest({ socketPath, path, timeout: 5_000 }, (response) => {
      let text = '';
      response.on('data', (chunk) => (text += String(chunk)));
      response.once('error', failed);
      response.once('end', () => done({ status: response.statusCode ?? 0, body: /^[[{]/.test(text) ? JSON.parse(text) : text }));
    });
    request.once('timeout', () => request.destroy(new Error('no answer')));
    request.once('error', failed);
    request.end();
  });
}
