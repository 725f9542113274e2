import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { SetupDocument } from '../../../src/domain/host/host.ts';
import { fakeAgent } from '../../fakes/agent.ts';
import { createFakeHost, type FakeHost } from '../../fakes/host.ts';
import { type CliLab, cliLab, runOn, testHost } from '../../support/machine/cli.ts';
import { aHealthDocument, anInstallationDocument } from '../../support/machine/documents.ts';
import { aDoctorDocument } from '../../support/machine/machine-documents.ts';

let lab: CliLab;
let machine: FakeHost;
beforeEach(async () => {
  lab = await cliLab();
  machine = createFakeHost();
  machine.put('/media/usb/agent', 'the program', 0o755);
});
afterEach(() => lab.close());

const failing = (check: string) =>
  aDoctorDocument({ ok: false, findings: [{ check, status: 'fail', message: `${check} is bad`, help: 'mend it' }] });
const setup = (...args: string[]) => lab.run(['setup', ...args], { machine });

describe('agent setup', () => {
  it('sets up, starts, and comes back when the agent is up', async () => {
    await lab.serve(fakeAgent());
    const { code, stdout, stderr } = await setup();
    expect({ code, stdout }).toEqual({ code: 0, stdout: expect.stringMatching(/^set up, healthy: 2\/2 ready/) });
    expect(stderr).toMatch(/user comfyui .*\n[\s\S]*start comfylet-pm2\.service, comfylet\.service/);
    expect(machine.paths.get('/etc/comfylet/agent.yaml')?.content).toContain(`root: ${lab.root}\n`);
    expect(machine.paths.get('/etc/comfylet/agent.env')).toMatchObject({
      mode: 0o600,
      content: expect.stringMatching(/^AGENT_TOKEN=[\w-]{43}$/m),
    });
    expect(machine.paths.get('/etc/systemd/system/comfylet.service')?.content).toContain(`RequiresMountsFor=${lab.root}\n`);
    expect(stdout + stderr).not.toContain(/AGENT_TOKEN=(.*)/.exec(machine.paths.get('/etc/comfylet/agent.env')?.content ?? '')?.[1]);
  });

  it('comes back when the first installation runs', async () => {
    const document = aHealthDocument({ status: 'unhealthy', ready: false, capacity: '0/2' });
    await lab.serve(fakeAgent({ document, installation: async () => anInstallationDocument({ status: 'installing', ok: false }) }));
    expect(await setup()).toMatchObject({ code: 0, stdout: expect.stringContaining('the first installation runs') });
  });

  it('says what it waits for, and where to look, when the agent does not come', async () => {
    const { code, stderr } = await setup('--timeout', '1s');
    expect(code).toBe(6);
    expect(stderr).toContain('waiting: the agent does not answer yet');
    expect(stderr).toContain('journalctl -u comfylet');
  });

  it('has nothing to do the second time, and asks no doctor then', async () => {
    expect((await setup('--no-start')).code).toBe(0);
    const before = machine.done.length;
    const config = machine.paths.get('/etc/comfylet/agent.yaml');
    // The configuration in /etc is not that of this test: what it would hold is the same.
    expect(config?.content).toContain('runDir: /run/comfylet');
    const again = await lab.run(['setup', '--no-start'], { machine, doctor: failing('python') });
    expect(again).toMatchObject({ code: 0, stdout: 'nothing is to be done: this machine is set up\n' });
    expect(machine.done.length).toBe(before);
  });

  it('shows the steps and changes nothing with --dry-run', async () => {
    const { code, stdout } = await setup('--dry-run');
    expect(code).toBe(0);
    expect(stdout).toMatch(/^ *1 {2}group comfyui .*groupadd --system comfyui$/m);
    expect(stdout).toMatch(/\d+ steps; nothing was changed\n$/);
    expect(machine.done).toEqual([]);
    const { steps, done } = JSON.parse((await setup('--dry-run', '--json')).stdout) as SetupDocument;
    expect(done).toBe(false);
    expect(steps.length).toBeGreaterThan(10);
  });

  it('looks at the machine first, and stops at what would keep the agent from working', async () => {
    const run = (check: string, ...args: string[]) => lab.run(['setup', '--no-start', ...args], { machine, doctor: failing(check) });
    expect(await run('python')).toMatchObject({
      code: 5,
      stderr: expect.stringMatching(/python is bad[\s\S]*mend it[\s\S]*error\[HELD\]/),
    });
    expect(machine.done).toEqual([]);
    expect(await run('repository')).toMatchObject({ code: 0, stderr: expect.stringContaining('repository is bad') });
    machine = createFakeHost();
    machine.put('/media/usb/agent', 'the program', 0o755);
    expect((await run('python', '--yes')).code).toBe(0);
  });

  it('looks with the environment of the unit, not with that of whoever calls, and says what that one lacks', async () => {
    const unit = 'Environment=AGENT_ROOT=/workspace AGENT_PM2=external\n';
    const host = testHost({
      root: lab.root,
      machine,
      environment: { PATH: '/home/me/bin', NUM_GPUS: '2' },
      assets: { 'systemd/comfylet.service': unit },
    });
    expect((await runOn(host, 'setup', '--no-start')).code).toBe(0);
    const { argument } = host.calls.find(({ call }) => call === 'doctor') ?? {};
    expect(argument).toMatchObject({ PATH: expect.stringMatching(/^\/usr\/local\/sbin:/), AGENT_ROOT: lab.root, AGENT_PM2: 'external' });
    expect(argument).not.toHaveProperty('NUM_GPUS');
    expect(host.err()).toMatch(/note: NUM_GPUS: set here, but not for the service; write it into \/etc\/comfylet\/agent\.env\n/);
  });

  it('needs root, and gives the line to type', async () => {
    machine.set({ isRoot: false });
    const { code, stderr } = await setup('--no-start');
    expect(code).toBe(1);
    expect(stderr).toBe('error[ROOT_RIGHTS_NEEDED]: setting up a machine needs root rights\nhelp: run `sudo agent setup`\n');
  });

  it('names the step that failed, and goes on there', async () => {
    const { carryOut } = machine;
    const broken: FakeHost = {
      ...machine,
      carryOut: async (action) => {
        if (action.do === 'enable') throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
        await carryOut(action);
      },
    };
    const { code, stderr } = await lab.run(['setup', '--no-start'], { machine: broken });
    expect(code).toBe(1);
    expect(stderr).toMatch(
      /error\[DISK_FULL\]: enable comfylet-pm2\.service, comfylet\.service: no space left[\s\S]*running it again goes on here/,
    );
    expect((await setup('--no-start')).stderr).toMatch(/enable comfylet-pm2/);
  });

  it('prints the script', async () => {
    expect((await setup('--print')).stdout).toMatch(/^# install\.sh\n/);
  });

  it.each([
    [['--prefix', 'relative'], /--prefix relative/],
    [['--purge'], /--purge goes with --uninstall/],
  ])('refuses %j', async (args, words) => {
    expect(await setup(...args)).toMatchObject({ code: 2, stderr: expect.stringMatching(words) });
  });
});

describe('agent setup --uninstall', () => {
  it('goes the way back and tells what stays', async () => {
    await setup('--no-start', '--legacy');
    const { code, stdout } = await setup('--uninstall');
    expect(code).toBe(0);
    expect(stdout).toMatch(/^removed\n\nwhat stays:\n(.*\n)* {2}\/etc\/comfylet \(configuration and secrets\)\n/);
    expect(machine.users.has('comfyui')).toBe(false);
    expect((await setup('--uninstall')).stdout).toMatch(/^nothing is to be done/);
  });

  it('purges only when that is confirmed', async () => {
    await setup('--no-start');
    expect(await setup('--uninstall', '--purge')).toMatchObject({ code: 2, stderr: expect.stringContaining('--yes') });
    expect(machine.paths.has('/etc/comfylet')).toBe(true);
    expect((await setup('--uninstall', '--purge', '--dry-run')).stdout).toContain('remove /etc/comfylet and all in it');
    expect(machine.paths.has('/etc/comfylet')).toBe(true);
    expect(await setup('--uninstall', '--purge', '--yes')).toMatchObject({ code: 0, stdout: 'removed\n' });
    expect(machine.paths.has('/etc/comfylet')).toBe(false);
  });
});
