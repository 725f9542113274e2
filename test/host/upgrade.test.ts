import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFileSync, readFileSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { UpgradeDocument } from '../../src/domain/upgrade.ts';
import { eventually } from '../support/eventually.ts';
import { aSystemdMachine, type CommandResult, type SystemdMachine, whyNoSystemd } from '../support/systemd-machine.ts';
import { type TempRoot, tempRoot } from '../support/temp-root.ts';

/** `agent upgrade` of real executables under a real systemd, while both instances have prompts all the time. */

const why = whyNoSystemd();
if (why !== null) console.log(`skipped: no systemd can be booted here: ${why}`);

const repository = resolve(import.meta.dirname, '../..');
const TARGET = '/usr/local/bin/agent';
const FLAG = '/root/stream';
/** Five times the figure. */
const AWAY_MS = 5_000;
const LIMIT_MS = 60_000;
const ENVIRONMENT = 'COMFYUI_REPO=simulator:\nMOCK_GPU=1\nNUM_GPUS=2\nSIM_STARTUP_MS=200\n';

const script = (name: string, ...args: readonly string[]): void => {
  execFileSync(process.execPath, [join(repository, 'scripts', name), ...args], { stdio: ['ignore', 'ignore', 'pipe'] });
};

let place: TempRoot;
let machine: SystemdMachine;
let ports: string[];

/** An executable of its own, at /root/NAME inside. */
function make(name: string, ...args: readonly string[]): void {
  const dist = place.at(`${name}-dist`);
  script('build.ts', '--out', dist, '--no-warm', '--agent-version', name, ...args);
  script('build-binary.ts', '--dist', dist, '--no-code-cache', '--out', place.at(name));
}
const digest = (name: string): string =>
  createHash('sha256')
    .update(readFileSync(place.at(name)))
    .digest('hex');
const upgradeTo = (name: string, ...args: readonly string[]): readonly string[] => [
  TARGET,
  'upgrade',
  `/root/${name}`,
  '--sha256',
  digest(name),
  ...args,
];
/** Begins an upgrade that can be killed. */
const begin = (name: string): Promise<CommandResult> =>
  machine.run(['sh', '-c', 'echo $$ >/root/upgrade.pid; exec "$@"', 'sh', ...upgradeTo(name)]);
const killIt = (): Promise<CommandResult> => machine.run(['sh', '-c', 'kill -KILL "$(cat /root/upgrade.pid)"']);
const inPlace = async (): Promise<string> => (await machine.must(TARGET, '--version')).trim().replace('comfy-agent ', '');
const serving = async (): Promise<string> => ((await machine.get('/v1/version')).body as { agent: string }).agent;
const pids = async (): Promise<readonly (number | null)[]> => (await machine.untilReady(2)).map(({ pid }) => pid);

/** Prompts to both instances while `work` runs. @returns what became of them */
async function underLoad<T>(
  work: () => Promise<T>,
): Promise<{ readonly result: T; readonly done: number; readonly lost: readonly string[] }> {
  await machine.write(FLAG, '');
  const stream: Promise<CommandResult> = machine.run(['python3', '/root/prompt-stream.py', FLAG, ...ports], { limitMs: 150_000 });
  try {
    const result = await work();
    await machine.must('rm', FLAG);
    const { stdout, stderr } = await stream;
    if (stdout === '') throw new Error(stderr);
    return { result, ...(JSON.parse(stdout) as { done: number; lost: string[] }) };
  } finally {
    await machine.run(['rm', '-f', FLAG]);
    await stream;
  }
}

describe.skipIf(why !== null)('agent upgrade under systemd', { timeout: 200_000 }, () => {
  beforeAll(async () => {
    place = await tempRoot();
    make('0.1.0');
    make('0.2.0');
    make('0.9.0', '--entry', join(repository, 'test/support/broken-agent.ts'));
    machine = await aSystemdMachine({ files: { '/etc/comfy-agent/agent.env': ENVIRONMENT } });
    copyFileSync(place.at('0.1.0'), machine.at(TARGET));
    for (const name of ['0.1.0', '0.2.0', '0.9.0']) copyFileSync(place.at(name), machine.at(`/root/${name}`));
    copyFileSync(join(repository, 'test/support/prompt-stream.py'), machine.at('/root/prompt-stream.py'));
    await machine.boot();
    ports = (await machine.untilReady(2)).map(({ port }) => String(port));
  }, 200_000);
  afterAll(async () => {
    await machine?.close();
    await place?.remove();
  });

  it('loses no prompt and restarts no instance', async () => {
    const before = await pids();
    const { result, done, lost } = await underLoad(
      async () => JSON.parse(await machine.must(...upgradeTo('0.2.0', '--json'))) as UpgradeDocument,
    );
    expect(result).toMatchObject({ done: true, from: { agent: '0.1.0' }, to: { agent: '0.2.0' }, instances: { restarted: [] } });
    expect(result.instances?.kept).toHaveLength(2);
    expect(result.awayMs).toBeLessThan(AWAY_MS);
    expect(lost).toEqual([]);
    expect(done).toBeGreaterThan(10);
    expect(await pids()).toEqual(before);
    expect([await inPlace(), await serving()]).toEqual(['0.2.0', '0.2.0']);
  });

  it('brings the old program back when the new one does not run, and loses nothing either', async () => {
    const before = await pids();
    const { result, lost } = await underLoad(() => machine.run(upgradeTo('0.9.0', '--timeout', '8s')));
    expect(result.code).toBe(1);
    expect(result.stderr).toContain('error[UPGRADE_FAILED]');
    expect(result.stderr).toContain('agent 0.2.0 is back');
    expect(lost).toEqual([]);
    expect(await pids()).toEqual(before);
    expect([await inPlace(), await serving()]).toEqual(['0.2.0', '0.2.0']);
  });

  it('killed in the middle of it: the old program comes back by itself, after three tries', async () => {
    const before = await pids();
    const inode = () => statSync(machine.at(TARGET)).ino;
    const old = inode();
    const running = begin('0.9.0');
    await eventually('the new program is in place', async () => inode() !== old, LIMIT_MS);
    await killIt();
    await running;
    await machine.run(['systemctl', 'restart', '--no-block', 'comfy-agent']);
    await eventually(
      'the old program is back',
      async () => (await machine.must('sha256sum', TARGET)).startsWith(digest('0.2.0')),
      LIMIT_MS,
    );
    await eventually('and serves', async () => (await serving()) === '0.2.0', LIMIT_MS);
    expect(await pids()).toEqual(before);
    expect(await machine.journal()).toContain('did not prove itself after 3 starts');
  });

  it.each([[50], [300], [700], [1_500]])('killed after %d ms: a whole program is in place, and serves after the next start', async (ms) => {
    const before = await pids();
    const to = (await inPlace()) === '0.1.0' ? '0.2.0' : '0.1.0';
    const running = begin(to);
    await new Promise((done) => setTimeout(done, ms));
    await killIt();
    await running;
    await machine.must('systemctl', 'restart', 'comfy-agent');
    const version = await inPlace();
    expect(['0.1.0', '0.2.0']).toContain(version);
    await eventually('that one serves', async () => (await serving()) === version, LIMIT_MS);
    expect(await pids()).toEqual(before);
    // What was brought and not used is swept away by the next upgrade.
    const left = (await machine.must('find', '/usr/local/bin', '-name', '.agent.*')).split('\n').filter((line) => line !== '');
    expect(left.slice(1)).toEqual([]);
  });

  it('proves itself without anybody watching: nothing is left of the upgrade', async () => {
    await eventually(
      'the agent has proved itself',
      async () => (await machine.run(['test', '-e', '/var/lib/comfy-agent/upgrade.json'])).code === 1,
      LIMIT_MS,
    );
  });
});
