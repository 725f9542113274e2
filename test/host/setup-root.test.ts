import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eventually } from '../support/eventually.ts';
import { aFreshMachine, type FreshMachine } from '../support/systemd/fresh-machine.ts';
import { whyNoSystemd } from '../support/systemd/machine.ts';

/** Roots that are not a directory like any other: in a home that is closed, behind a closed door, on a volume. Under a real systemd. */

const why = whyNoSystemd();
if (why !== null) console.log(`skipped: no systemd can be booted here: ${why}`);

const SECRETS = 'COMFYUI_REPO=simulator:\nMOCK_GPU=1\nNUM_GPUS=1\nSIM_STARTUP_MS=200\nAGENT_TOKEN=of-the-operator\n';

describe.skipIf(why !== null)('agent setup of a root', { timeout: 180_000 }, () => {
  let machine: FreshMachine;
  beforeAll(async () => {
    machine = await aFreshMachine();
    await machine.write('/etc/comfylet/agent.env', SECRETS, 0o600);
  });
  afterAll(() => machine?.close());

  const setup = async (...args: string[]) => {
    const { code, stdout, stderr } = await machine.run([...machine.program, 'setup', ...args], { limitMs: 150_000 });
    expect({ code, stderr }).toMatchObject({ code: 0 });
    return { stdout, stderr };
  };
  /** What the processes of a unit see there. */
  const seenBy = async (unit: string, path: string): Promise<string> =>
    machine.must('ls', '-A', `/proc/${await machine.mainPid(unit)}/root${path}`);
  const rights = (path: string): Promise<string> => machine.must('stat', '-c', '%a %u', path);
  const leave = async (): Promise<void> => {
    await machine.must('agent', 'setup', '--uninstall');
    await machine.must('rm', '/etc/comfylet/agent.yaml');
  };

  it.each([
    ['in a home', '/home/ubuntu', '/home/ubuntu/comfyui'],
    ['behind a closed door', '/data/private', '/data/private/of/comfyui'],
  ])('%s: serves, and the directory stays as closed as it was', async (_, closed, root) => {
    await machine.must('install', '-d', '-m', '0755', '/data');
    await machine.must('install', '-d', '-m', '0750', '-o', '1000', '-g', '1000', closed);
    await machine.write(`${closed}/letter`, 'private');
    await setup('--root', root);
    await machine.untilReady(1);
    expect(await rights(closed)).toBe('750 1000\n');
    for (const unit of ['comfylet', 'comfylet-pm2'])
      expect(await seenBy(unit, closed)).toBe(`${root.slice(closed.length + 1).split('/')[0]}\n`);
    expect((await setup('--root', root)).stdout).toBe('nothing is to be done: this machine is set up\n');
    const [before] = await machine.instances();
    await machine.must('agent', 'restart', '0');
    expect((await machine.untilReady(1))[0]?.pid).not.toBe(before?.pid);
    await leave();
    expect(readdirSync(machine.at(closed)).toSorted()).toEqual(['letter', root.slice(closed.length + 1).split('/')[0]].toSorted());
  });

  it('on a volume: units wait for it, and do nothing where it is missing', async () => {
    mkdirSync(machine.at('/srv/volume'));
    // Not a block device, which no container has: the mount unit is made from fstab in the same way, and fails in the same way.
    const present = '/srv/volume /mnt/comfyui none bind,nofail 0 2\n';
    const away = 'volume /mnt/comfyui tmpfs nofail,size=none 0 0\n';
    writeFileSync(machine.at('/etc/fstab'), present);
    await machine.must('systemctl', 'daemon-reload');
    await machine.must('systemctl', 'start', 'mnt-comfyui.mount');
    await setup('--root', '/mnt/comfyui/workspace');
    await machine.untilReady(1);
    await machine.must('systemctl', 'add-wants', 'agent-test.target', 'comfylet', 'comfylet-pm2');
    for (const unit of ['comfylet', 'comfylet-pm2']) {
      expect(await machine.property(unit, 'Requires')).toContain('mnt-comfyui.mount');
      expect(await machine.property(unit, 'After')).toContain('mnt-comfyui.mount');
    }
    await machine.powerOff();
    writeFileSync(machine.at('/etc/fstab'), away);
    await machine.boot();
    await eventually('the volume is given up', async () => (await machine.must('systemctl', 'list-jobs')).includes('No jobs'));
    for (const unit of ['comfylet', 'comfylet-pm2']) expect(await machine.property(unit, 'ActiveState')).toBe('inactive');
    expect(readdirSync(machine.at('/mnt/comfyui'))).toEqual([]);
    // It is attached late.
    writeFileSync(machine.at('/etc/fstab'), present);
    await machine.must('systemctl', 'daemon-reload');
    await machine.must('systemctl', 'start', 'comfylet');
    await machine.untilReady(1);
  });
});
