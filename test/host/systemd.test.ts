import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { eventually } from '../support/eventually.ts';
import { aSystemdMachine, type SystemdMachine, whyNoSystemd } from '../support/systemd/machine.ts';

/** The two units under a real systemd, with two cards of a fake driver and an instance of the simulator on each. */

const why = whyNoSystemd();
if (why !== null) console.log(`skipped: no systemd can be booted here: ${why}`);

const ENVIRONMENT = `COMFYUI_REPO=simulator:
SIM_STARTUP_MS=200
`;
/** Short, so that a hang is seen soon. */
const SHORT_WATCHDOG = '[Service]\nWatchdogSec=4\n';
const LIMIT_MS = 60_000;

let machine: SystemdMachine;
const pidsOf = async (): Promise<readonly (number | null)[]> => (await machine.instances()).map(({ pid }) => pid);
const agentPid = () => machine.mainPid('comfylet');
/** The agent runs, is another process than before, and has seen its instances. */
const isBack = (before: number) =>
  eventually(
    'another agent serves',
    async () => (await machine.property('comfylet', 'ActiveState')) === 'active' && (await agentPid()) !== before,
    LIMIT_MS,
  ).then(() => machine.untilReady(2));

describe.skipIf(why !== null)('under systemd', { timeout: 180_000 }, () => {
  beforeAll(async () => {
    machine = await aSystemdMachine({
      cards: { kind: 'fake driver', count: 2 },
      files: { '/etc/comfylet/agent.env': ENVIRONMENT, '/etc/systemd/system/comfylet.service.d/test.conf': SHORT_WATCHDOG },
    });
    await machine.boot();
  });
  afterAll(() => machine?.close());
  // Each begins with what the one before has left.
  let readyPids: readonly (number | null)[] = [];
  beforeEach(async () => {
    readyPids = await pidsOf().catch(() => []);
  });

  it('a boot brings both units up, and all instances', async () => {
    await machine.untilReady(2);
    expect(await machine.property('comfylet-pm2', 'SubState')).toBe('running');
    expect(await machine.property('comfylet', 'SubState')).toBe('running');
    await eventually('its status line', async () => (await machine.property('comfylet', 'StatusText')) === '2 of 2 instances ready');
    expect((await machine.must('systemctl', 'list-units', '--failed', '--plain', '--no-legend')).trim()).toBe('');
    expect(await machine.property('comfylet', 'NRestarts')).toBe('0');
  });

  it('nothing but the units runs as their users, and nothing of them as root', async () => {
    const hosted = await machine.processesOf('comfyui');
    const commands = [...hosted.values()];
    expect(commands.filter((line) => line.includes('main.py'))).toHaveLength(2);
    const owners = await machine.must('ps', '-o', 'user=', '-p', [await agentPid(), await machine.mainPid('comfylet-pm2')].join(','));
    expect(owners).not.toContain('root');
  });

  it('what systemd tells the units is for no instance', async () => {
    for (const pid of readyPids) {
      const environment = await machine.must('cat', `/proc/${pid}/environ`);
      expect(environment).toContain('AGENT_INSTANCE=');
      expect(environment).not.toMatch(/NOTIFY_SOCKET|WATCHDOG_/);
    }
  });

  it.each([
    ['comfyui', '/run/systemd/notify', ''],
    ['comfyui', '/run/comfylet-notify/socket', ''],
    // It is no idle threat: the agent's own user is heard from there.
    ['comfylet', '/run/comfylet-notify/socket', '77'],
  ])("who runs in the agent's control group as %s and tells systemd something at %s is heard: '%s'", async (user, socket, heard) => {
    const pid = await agentPid();
    const asPackCode = `find /sys/fs/cgroup -path '*/comfylet.service/cgroup.procs' | while read file; do echo $$ >$file; done
nsenter --target ${pid} --mount setpriv --reuid ${user} --regid ${user} --init-groups env NOTIFY_SOCKET=${socket} systemd-notify ERRNO=${heard || 78}`;
    const { code } = await machine.run(['sh', '-c', asPackCode]);
    expect(code === 0).toBe(heard !== '');
    if (heard !== '') await eventually('it is heard', async () => (await machine.property('comfylet', 'StatusErrno')) === heard);
    else expect(await machine.property('comfylet', 'StatusErrno')).toBe('0');
    expect(await agentPid()).toBe(pid);
  });

  it('a restart of the agent leaves the instances alone', async () => {
    const before = await agentPid();
    await machine.must('systemctl', 'restart', 'comfylet');
    await isBack(before);
    expect(await pidsOf()).toEqual(readyPids);
  });

  it('a killed agent comes back to the same instances', async () => {
    const before = await agentPid();
    await machine.must('kill', '-KILL', String(before));
    await isBack(before);
    expect(await pidsOf()).toEqual(readyPids);
  });

  it('a blocked agent is ended by the watchdog, and comes back to the same instances', async () => {
    const before = await agentPid();
    await machine.must('kill', '-STOP', String(before));
    await isBack(before);
    expect(await pidsOf()).toEqual(readyPids);
    expect(await machine.journal()).toMatch(/comfylet\.service: Watchdog timeout/);
  });

  it('an agent whose loop turns goes on for longer than the watchdog waits', async () => {
    const before = await agentPid();
    const since = performance.now();
    await eventually('three periods of the watchdog', () => performance.now() - since > 12_000, LIMIT_MS);
    expect(await agentPid()).toBe(before);
  });

  it('a reload reads the configuration again, in the same process', async () => {
    const before = await agentPid();
    await machine.write('/etc/comfylet/agent.yaml', 'gpu: { pin: sideways }\n');
    await machine.must('systemctl', 'reload', 'comfylet');
    await eventually('it is refused', async () =>
      /configuration refused: .*gpu\.pin/.test(await machine.property('comfylet', 'StatusText')),
    );
    await machine.write('/etc/comfylet/agent.yaml', 'health: { minReady: 2 }\n');
    await machine.must('systemctl', 'reload', 'comfylet');
    await eventually('it is taken', async () => (await machine.property('comfylet', 'StatusText')) === '2 of 2 instances ready');
    await eventually('it is done', async () => (await machine.property('comfylet', 'ActiveState')) === 'active');
    expect(await machine.journal()).toMatch(/Reloaded comfylet\.service/);
    expect(await agentPid()).toBe(before);
    expect(await pidsOf()).toEqual(readyPids);
  });

  const FILE = '/etc/comfylet/agent.yaml';
  const SECRETS = '/etc/comfylet/agent.env';
  it.each([
    ['file', FILE, '# of the operator\ngpu:\n  pin: sideways\n', 'health: { minReady: 2 }\n', /agent\.yaml:3: gpu\.pin: .*sideways.*uuid/],
    ['environment', SECRETS, `${ENVIRONMENT}COMFYUI_PIN=sideways\n`, ENVIRONMENT, /COMFYUI_PIN: gpu\.pin: .*sideways.*uuid/],
  ])('an invalid %s keeps the agent down until it is mended, and the instances go on', async (_, path, bad, good, words) => {
    await machine.write(path, bad);
    const refused = await machine.run(['systemctl', 'restart', 'comfylet']);
    const failedAt = performance.now();
    expect(refused.code).toBe(1);
    expect(await machine.property('comfylet', 'ActiveState')).toBe('failed');
    expect(await machine.property('comfylet', 'StatusText')).toMatch(words);
    expect((await machine.run(['systemctl', 'status', 'comfylet'])).stdout).toMatch(words);
    const lines = await machine.must('journalctl', '-u', 'comfylet', '-o', 'cat', '-n', '20');
    expect(lines).toMatch(new RegExp(`^error\\[CONFIG_INVALID\\]: .*${words.source}`, 'm'));
    expect(await machine.must('systemctl', 'list-units', '--failed', '--plain', '--no-legend')).toMatch(/^comfylet\.service/);
    // Whoever looks into it is told the same, from a shell that has none of the service's variables.
    const checked = await machine.run(['agent', 'config', 'check']);
    expect([checked.code, checked.stdout]).toEqual([2, expect.stringMatching(words)]);
    expect((await machine.run(['agent', 'doctor'])).stdout).toMatch(new RegExp(`^fail +config +.*${words.source}`, 'm'));
    const serving = [...(await machine.processesOf('comfyui'))].flatMap(([pid, line]) => (line.includes('main.py') ? [pid] : []));
    expect(new Set(serving)).toEqual(new Set(readyPids));
    // It was tried once: no start is counted after the one that failed.
    const starts = (text: string): number => text.split('error[CONFIG_INVALID]').length - 1;
    await eventually('systemd had time to start it again', () => performance.now() - failedAt > 3_000);
    expect(starts(await machine.must('journalctl', '-u', 'comfylet', '-o', 'cat', '-n', '20'))).toBe(starts(lines));

    await machine.write(`${path}.new`, good);
    await machine.must('mv', `${path}.new`, path);
    await eventually('it is back', async () => (await machine.property('comfylet', 'ActiveState')) === 'active', LIMIT_MS);
    await machine.untilReady(2);
    expect(await pidsOf()).toEqual(readyPids);
  });

  it('an agent that was stopped by hand is not started by an edit', async () => {
    await machine.must('systemctl', 'stop', 'comfylet');
    expect(await machine.property('comfylet.path', 'ActiveState')).toBe('inactive');
    await machine.write(FILE, 'health: { minReady: 1 }\n');
    expect(await machine.property('comfylet', 'ActiveState')).toBe('inactive');
    await machine.must('systemctl', 'start', 'comfylet');
    expect(await machine.property('comfylet.path', 'ActiveState')).toBe('active');
    await machine.untilReady(2);
    expect(await pidsOf()).toEqual(readyPids);
  });

  it('a killed PM2 daemon leaves no orphan, and the instances come back', async () => {
    const before = await machine.mainPid('comfylet-pm2');
    const agentBefore = await agentPid();
    await machine.must('kill', '-KILL', String(before));
    await eventually(
      'others are ready',
      async () => {
        const instances = await machine.instances();
        return instances.length === 2 && instances.every(({ ready, pid }) => ready && !readyPids.includes(pid));
      },
      LIMIT_MS,
    );
    const commands = await machine.processesOf('comfyui');
    const serving = [...commands].flatMap(([pid, line]) => (line.includes('main.py') ? [pid] : []));
    expect(new Set(serving)).toEqual(new Set(await pidsOf()));
    expect(await machine.mainPid('comfylet-pm2')).not.toBe(before);
    expect(await agentPid()).toBe(agentBefore);
  });

  it('a stop of both leaves no process, and a start brings all back', async () => {
    await machine.must('systemctl', 'stop', 'comfylet', 'comfylet-pm2');
    expect(await machine.property('comfylet', 'Result')).toBe('success');
    expect(await machine.property('comfylet-pm2', 'Result')).toBe('success');
    for (const user of ['comfyui', 'comfylet']) expect([...(await machine.processesOf(user)).values()]).toEqual([]);
    await machine.must('systemctl', 'start', 'comfylet');
    await machine.untilReady(2);
  });

  it('after a reboot everything is there again, from the same release', async () => {
    const release = (await machine.instances())[0]?.release;
    expect(release).toBeTruthy();
    await machine.powerOff();
    await machine.boot();
    const instances = await machine.untilReady(2);
    expect(instances.map((instance) => instance.release)).toEqual([release, release]);
    expect(await machine.must('ls', '/workspace/releases')).toBe(`${release}\n`);
  });
});
