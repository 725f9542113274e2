import { statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Pm2MoveDocument, UpgradeDocument } from '../../src/domain/host/upgrade.ts';
import { eventually } from '../support/eventually.ts';
import { type CommandResult, type SystemdMachine, whyNoSystemd } from '../support/systemd/machine.ts';
import { anUpgradeMachine, PENDING, TARGET, type UpgradeMachine } from '../support/systemd/upgrade-machine.ts';

/** `agent upgrade` of real executables under a real systemd, while both instances have prompts all the time. */

const why = whyNoSystemd();
if (why !== null) console.log(`skipped: no systemd can be booted here: ${why}`);

/** Five times the figure. */
const AWAY_MS = 5_000;
const LIMIT_MS = 60_000;

let lab: UpgradeMachine;
let machine: SystemdMachine;

/** Begins an upgrade that can be killed. */
const begin = (name: string): Promise<CommandResult> =>
  machine.run(['sh', '-c', 'echo $$ >/root/upgrade.pid; exec "$@"', 'sh', ...lab.upgradeTo(name)]);

describe.skipIf(why !== null)('agent upgrade under systemd', { timeout: 200_000 }, () => {
  beforeAll(async () => {
    lab = await anUpgradeMachine({
      programs: {
        '0.1.0': [],
        '0.2.0': ['--pm2-version', '7.9.9'],
        '0.9.0': ['--entry', join(resolve(import.meta.dirname, '../..'), 'test/support/agent/broken-agent.ts')],
      },
      // Jobs that take a while: there is one to wait for in a drain.
      environment: 'SIM_STARTUP_MS=200\nSIM_JOB_HANG_SECONDS=0.3',
    });
    machine = lab.machine;
  }, 200_000);
  afterAll(() => lab?.close());

  it('loses no prompt and restarts no instance; another PM2 is told, and not brought', async () => {
    const before = await lab.pids();
    const daemon = await machine.mainPid('comfylet-pm2');
    const { result, done, lost } = await lab.underLoad(
      async () => JSON.parse(await machine.must(...lab.upgradeTo('0.2.0', '--json'))) as UpgradeDocument,
    );
    expect(result).toMatchObject({ done: true, from: { agent: '0.1.0' }, to: { agent: '0.2.0' }, instances: { restarted: [] } });
    expect(result.instances?.kept).toHaveLength(2);
    expect(result.notes).toEqual([expect.stringMatching(/^PM2 .* -> 7\.9\.9: .*`agent upgrade --pm2` moves it/)]);
    expect(result.awayMs).toBeLessThan(AWAY_MS);
    expect(lost).toEqual([]);
    expect(done).toBeGreaterThan(10);
    expect(await lab.pids()).toEqual(before);
    expect(await machine.mainPid('comfylet-pm2')).toBe(daemon);
    expect([await lab.inPlace(), await lab.serving()]).toEqual(['0.2.0', '0.2.0']);
  });

  it('--pm2 --dry-run announces what it would do, and does nothing', async () => {
    const before = await lab.pids();
    const { code, stderr, stdout } = await machine.run([TARGET, 'upgrade', '--pm2', '--dry-run']);
    expect([code, stdout]).toEqual([0, 'nothing was changed\n']);
    expect(stderr).toMatch(/from agent 0\.2\.0 \(PM2 7\.9\.9, .*comfyui-gpu0 \(.*comfyui-gpu1 \(.* stop and come back/);
    expect(await lab.pids()).toEqual(before);
  });

  it('--pm2 drains the instances and moves the daemon: what an instance has taken is done', async () => {
    const before = await lab.pids();
    const daemon = await machine.mainPid('comfylet-pm2');
    const exe = async () => (await machine.must('readlink', `/proc/${await machine.mainPid('comfylet-pm2')}/exe`)).trim();
    expect(await exe()).toMatch(/\.previous|deleted/);
    const { result, done, lost } = await lab.underLoad(async () => {
      await eventually('a job runs', async () => (await machine.instances()).some(({ queue }) => (queue?.running ?? 0) > 0), LIMIT_MS);
      return machine.run([TARGET, 'upgrade', '--pm2', '--json'], { limitMs: 120_000 });
    }, true);
    expect({ code: result.code, stderr: result.stderr }).toMatchObject({ code: 0 });
    expect(JSON.parse(result.stdout) as Pm2MoveDocument).toEqual({
      program: { agent: '0.2.0', node: process.versions.node, pm2: '7.9.9' },
      done: true,
      gpus: [0, 1],
    });
    expect(lost).toEqual([]);
    expect(done).toBeGreaterThan(2);
    for (const pid of await lab.pids()) expect(before).not.toContain(pid);
    expect(await machine.mainPid('comfylet-pm2')).not.toBe(daemon);
    expect((await exe()).endsWith(TARGET)).toBe(true);
  });

  it('brings the old program back when the new one does not run, and loses nothing either', async () => {
    const before = await lab.pids();
    const { result, lost } = await lab.underLoad(() => machine.run(lab.upgradeTo('0.9.0', '--timeout', '8s')));
    expect(result.code).toBe(1);
    expect(result.stderr).toContain('error[UPGRADE_FAILED]');
    expect(result.stderr).toContain('agent 0.2.0 is back');
    expect(lost).toEqual([]);
    expect(await lab.pids()).toEqual(before);
    expect([await lab.inPlace(), await lab.serving()]).toEqual(['0.2.0', '0.2.0']);
  });

  it('killed in the middle of it: the old program comes back by itself, after three tries', async () => {
    const before = await lab.pids();
    const inode = () => statSync(machine.at(TARGET)).ino;
    const old = inode();
    const running = begin('0.9.0');
    await eventually('the new program is in place', async () => inode() !== old, LIMIT_MS);
    await machine.run(['sh', '-c', 'kill -KILL "$(cat /root/upgrade.pid)"']);
    await running;
    await machine.run(['systemctl', 'restart', '--no-block', 'comfylet']);
    await eventually(
      'the old program is back',
      async () => (await machine.must('sha256sum', TARGET)).startsWith(lab.digest('0.2.0')),
      LIMIT_MS,
    );
    await eventually('and serves', async () => (await lab.serving()) === '0.2.0', LIMIT_MS);
    expect(await lab.pids()).toEqual(before);
    expect(await machine.journal()).toContain('did not prove itself after 3 starts');
  });

  it('proves itself without anybody watching: nothing is left of the upgrade', async () => {
    await eventually('the agent has proved itself', async () => (await machine.run(['test', '-e', PENDING])).code === 1, LIMIT_MS);
  });
});
