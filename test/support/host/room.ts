import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { AgentError } from '../../../src/domain/errors/errors.ts';
import type { ErrorCode } from '../../../src/domain/errors/registry.ts';
import type { HostFacts } from '../../../src/domain/host/host.ts';
import type { HostSystem } from '../../../src/ports/host.ts';
import { eventually } from '../eventually.ts';

/**
 * This machine as it is, in a namespace of its own: what is changed there lies in memory, and is gone with it. systemd does
 * not run in it. Its end ends all that was started in it.
 */
export interface HostRoom {
  /** Runs a program there, to its end. `environment` is all it gets. */
  run(argv: readonly string[], environment?: Readonly<Record<string, string>>): Promise<RoomResult>;
  /** A program that stays. */
  start(argv: readonly string[]): ChildProcess;
  /** Everything that differs from the machine outside, as paths: files made or changed, and what was removed with a `-` before it. */
  changes(): readonly string[];
  /** The real adapter, at work in there. */
  readonly system: HostSystem;
  close(): Promise<void>;
}

export interface RoomResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

const ROOM = `
set -eu
mount -t tmpfs none "$1"
mkdir "$1/up" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/up,workdir=$1/work" "$1/root"
mount -t proc proc "$1/root/proc"
mount -t tmpfs none "$1/root/run"
mount --rbind /dev "$1/root/dev"
touch "$1/ready"
exec chroot "$1/root" cat
`;

/** Why there can be no room here; null: there can. */
export function noRoom(): string | null {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return 'needs root on Linux';
  const { status } = spawnSync('unshare', ['--mount', '--pid', '--fork', 'true'], { stdio: 'ignore' });
  return status === 0 ? null : 'namespaces cannot be made here';
}

export async function hostRoom(): Promise<HostRoom> {
  const place = await mkdtemp(join(tmpdir(), 'agent-room-'));
  const holder = spawn(
    'unshare',
    ['--mount', '--propagation', 'private', '--pid', '--fork', '--kill-child', 'sh', '-c', ROOM, 'room', place],
    { stdio: ['pipe', 'ignore', 'pipe'] },
  );
  let said = '';
  holder.stderr.on('data', (chunk) => (said += String(chunk)));
  const inside = await eventually('the room is made', async () => {
    if (holder.exitCode !== null) throw new Error(`the room could not be made: ${said}`);
    const pid = Number(readFileSync(`/proc/${holder.pid}/task/${holder.pid}/children`, 'utf8').trim());
    readdirSync(`/proc/${pid}/root/run`);
    if (!readFileSync(`/proc/${pid}/cmdline`, 'latin1').startsWith('cat')) throw new Error('not yet');
    return pid;
  });
  const enter = ['-t', String(inside), '-m', '-p', '-r', '-w'];
  const start = (argv: readonly string[], environment: Readonly<Record<string, string>> = {}): ChildProcess =>
    spawn('nsenter', [...enter, ...argv], { env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LANG: 'C.UTF-8', ...environment } });
  const driver = start([process.execPath, fileURLToPath(import.meta.resolve('./driver.ts'))]);
  return {
    start: (argv) => start(argv),
    async run(argv, environment = {}) {
      const child = start(argv, environment);
      child.stdin?.end();
      let [stdout, stderr] = ['', ''];
      child.stdout?.on('data', (chunk) => (stdout += String(chunk)));
      child.stderr?.on('data', (chunk) => (stderr += String(chunk)));
      const [code] = (await once(child, 'close')) as [number | null];
      return { code, stdout, stderr };
    },
    changes: () => changesBelow(`/proc/${holder.pid}/root${place}/up`),
    system: remoteSystem(driver),
    async close() {
      const ended = once(holder, 'close');
      driver.stdin?.end();
      holder.stdin.end();
      await ended;
      await rm(place, { recursive: true, force: true });
    },
  };
}

/** The upper directory of the overlay: files are changes, character devices are removals. */
function changesBelow(directory: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => {
      const path = join(entry.parentPath, entry.name).slice(directory.length);
      return entry.isCharacterDevice() ? `-${path}` : path;
    })
    .filter((path) => !/^-?\/tmp\//.test(path))
    .sort();
}

function remoteSystem(driver: ChildProcess): HostSystem {
  const lines = createInterface({ input: driver.stdout! })[Symbol.asyncIterator]();
  let said = '';
  driver.stderr?.on('data', (chunk) => (said += String(chunk)));
  let turn: Promise<unknown> = Promise.resolve();
  const ask = (question: object): Promise<unknown> => {
    const answer = turn.then(async () => {
      driver.stdin?.write(`${JSON.stringify(question)}\n`);
      const { value: line, done } = await lines.next();
      if (done === true) throw new Error(`the driver ended: ${said}`);
      const { value, error } = JSON.parse(line as string) as {
        value?: unknown;
        error?: { code: ErrorCode; message: string; help: string };
      };
      if (error !== undefined) throw new AgentError(error.code, error.message, { help: error.help });
      return value;
    });
    turn = answer.catch(() => undefined);
    return answer;
  };
  return {
    facts: async (facts) => (await ask({ facts })) as HostFacts,
    carryOut: async (carryOut) => void (await ask({ carryOut })),
  };
}
