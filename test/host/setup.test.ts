import { existsSync, readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { SetupDocument } from '../../src/domain/host/host.ts';
import { readEnvironmentFile } from '../../src/plan/configuration/service-environment.ts';
import { eventually } from '../support/eventually.ts';
import { aFreshMachine, type FreshMachine } from '../support/systemd/fresh-machine.ts';
import { whyNoSystemd } from '../support/systemd/machine.ts';

/** A machine from nothing to serving and back, under a real systemd. Each test begins with what the one before has left. */

const why = whyNoSystemd();
if (why !== null) console.log(`skipped: no systemd can be booted here: ${why}`);

/** What the units are to run: two instances of the simulator. Set-up adds nothing to a file that is there. */
const SECRETS = 'COMFYUI_REPO=simulator:\nMOCK_GPU=1\nNUM_GPUS=2\nSIM_STARTUP_MS=200\nAGENT_TOKEN=of-the-operator\n';

describe.skipIf(why !== null)('agent setup under systemd', { timeout: 180_000 }, () => {
  let machine: FreshMachine;
  beforeAll(async () => {
    machine = await aFreshMachine();
    // Run without a Python the agent could do nothing.
    await machine.write('/etc/comfylet/agent.env', `${SECRETS}PYTHON=/nonexistent/python3\nexport NUM_GPUS=3\n`, 0o600);
  });
  afterAll(() => machine?.close());

  const setup = (...args: string[]) => machine.run([...machine.program, 'setup', ...args], { limitMs: 150_000 });
  const rightsOf = async (path: string): Promise<string> => (await machine.must('stat', '-c', '%a %U:%G', path)).trim();

  it('looks at the machine with the environment that its units will have', async () => {
    const { code, stderr } = await setup();
    expect({ code, stderr }).toEqual({ code: 5, stderr: expect.stringMatching(/\/nonexistent\/python3[\s\S]*error\[HELD\].*: python\n/) });
    expect(stderr).not.toContain('simulator:');
    expect(existsSync(machine.at('/etc/systemd/system/comfylet.service'))).toBe(false);
    await machine.write('/etc/comfylet/agent.env', SECRETS, 0o600);
  });

  it('reads that file as systemd does', async () => {
    const text =
      '# a=1\nA1=plain\nA2= two words \nA3="a \\"b\\" $c \\d"\nA4=\'it\\n$d\'\nA5=x#y\nexport A6=no\nA7=one\\\ntwo\nA8=a\\ b\\$\nA9="x"y\'z\'\n; A10=1 \\\nA11=1\nA12=\n  A13=in\nA14=a"b"\n';
    await machine.write('/root/trial.env', text);
    const told = await machine.must('systemd-run', '--wait', '--pipe', '--quiet', '-p', 'EnvironmentFile=/root/trial.env', 'env', '-0');
    const theirs = Object.fromEntries(
      told
        .split('\0')
        .filter((entry) => /^A\d+=/.test(entry))
        .map((entry) => [entry.slice(0, entry.indexOf('=')), entry.slice(entry.indexOf('=') + 1)]),
    );
    expect(readEnvironmentFile(text).variables).toEqual(theirs);
  });

  it('makes a machine that serves, with one command', async () => {
    const { code, stdout, stderr } = await setup();
    expect({ code, stderr }).toMatchObject({ code: 0 });
    expect(stdout).toMatch(/^set up[;,]/);
    await machine.untilReady(2);
    expect(await machine.must('systemctl', 'is-enabled', 'comfylet-pm2', 'comfylet')).toBe('enabled\nenabled\n');
    expect(await rightsOf('/etc/comfylet/agent.env')).toBe('600 root:root');
    expect(await rightsOf('/etc/comfylet/agent.yaml')).toMatch(/^640 root:/);
    expect(await rightsOf('/etc/comfylet')).toMatch(/^750 root:/);
    expect(await rightsOf('/var/lib/comfylet')).toMatch(/^7[05]0 comfy/);
    expect(await rightsOf('/workspace')).toMatch(/^2755 comfy[\w-]+:comfyui$/);
    expect(await rightsOf('/usr/local/bin/agent')).toBe('755 root:root');
    expect(readFileSync(machine.at('/etc/comfylet/agent.env'), 'utf8')).toBe(SECRETS);
    expect(readFileSync(machine.at('/etc/comfylet/agent.yaml'), 'utf8')).toContain('root: /workspace\n');
    expect((await machine.must('systemctl', 'list-units', '--failed', '--plain', '--no-legend')).trim()).toBe('');
  });

  it('has nothing to do the second time', async () => {
    const pids = (await machine.instances()).map(({ pid }) => pid);
    const started = performance.now();
    const { code, stdout } = await setup();
    console.log(`a second set-up took ${Math.round(performance.now() - started)} ms`);
    expect({ code, stdout }).toEqual({ code: 0, stdout: 'nothing is to be done: this machine is set up\n' });
    expect((await machine.instances()).map(({ pid }) => pid)).toEqual(pids);
    const document = JSON.parse((await setup('--json', '--dry-run')).stdout) as SetupDocument;
    expect(document).toMatchObject({ root: '/workspace', done: false, steps: [] });
  });

  it('takes a configuration that refers to variables of the units', async () => {
    const file = '/etc/comfylet/agent.yaml';
    const before = readFileSync(machine.at(file), 'utf8');
    await machine.write('/etc/comfylet/agent.env', `${SECRETS}WHEELS=/srv/wheels\n`, 0o600);
    await machine.must('systemctl', 'restart', 'comfylet');
    await machine.must('sh', '-c', `echo 'python: { findLinks: ["\${WHEELS}"] }' >>${file}`);
    expect(await setup()).toMatchObject({ code: 0, stdout: 'nothing is to be done: this machine is set up\n' });
    await machine.untilReady(2);
    expect(await machine.run(['agent', 'status'])).toMatchObject({ code: 0 });
    await machine.must('sh', '-c', `printf '%s' '${before}' >${file}`);
  });

  it('mends what was changed, and ComfyUI does not notice', async () => {
    const pids = (await machine.instances()).map(({ pid }) => pid);
    const before = await machine.mainPid('comfylet');
    await machine.must('sh', '-c', 'chmod 644 /etc/comfylet/agent.env; echo "# edited" >>/etc/systemd/system/comfylet.service');
    const { code, stderr } = await setup();
    expect(code).toBe(0);
    expect(stderr).toMatch(/rights of \/etc\/comfylet\/agent\.env[\s\S]*file .*comfylet\.service[\s\S]*restart comfylet\.service/);
    expect(await rightsOf('/etc/comfylet/agent.env')).toBe('600 root:root');
    expect(await machine.mainPid('comfylet')).not.toBe(before);
    await machine.untilReady(2);
    expect((await machine.instances()).map(({ pid }) => pid)).toEqual(pids);
  });

  it("brings the predecessor's commands when asked, with the exit codes of LSB", async () => {
    expect((await setup('--legacy')).code).toBe(0);
    const comfyui = async (...args: string[]) => (await machine.run(['/etc/init.d/comfyui', ...args])).code;
    const mgpu = (...args: string[]) => machine.run(['mgpu', ...args]);
    const [first] = await machine.instances();
    expect(await comfyui('status')).toBe(0);
    expect(await comfyui('restart', '0')).toBe(0);
    expect((await machine.instances())[0]?.pid).not.toBe(first?.pid);
    expect(await comfyui('stop', '1')).toBe(0);
    expect(await comfyui('status', '1')).toBe(3);
    expect(await comfyui('status', '0')).toBe(0);
    const stopped = await mgpu('status', '1');
    expect(stopped.code).toBe(3);
    expect(stopped.stdout).toContain('comfyui 1: stopped');
    expect(stopped.stdout).not.toContain('running\n');
    expect(await comfyui('start', '1')).toBe(0);
    expect((await mgpu('status')).stdout).toMatch(/comfyui all: running\n$/);
    expect(await comfyui('restart', '7')).toBe(2);
    expect(await comfyui('dance')).toBe(2);
    expect(await comfyui()).toBe(2);
    expect((await mgpu('dance')).code).toBe(2);
    await machine.must('systemctl', 'stop', 'comfylet');
    expect(await comfyui('status')).toBe(3);
    expect(await comfyui('restart')).toBe(7);
    await machine.must('systemctl', 'start', 'comfylet');
    await machine.untilReady(2);
  });

  it('--uninstall takes away what it brought, and leaves what was made', async () => {
    await machine.write('/workspace/shared/models/checkpoints/one.safetensors', 'a model');
    await machine.write('/workspace/shared/outputs/gpu0/picture.png', 'a picture');
    const { code, stdout } = await machine.run(['agent', 'setup', '--uninstall'], { limitMs: 150_000 });
    expect(code).toBe(0);
    expect(stdout).toContain('  /workspace/shared/models (models)\n  /workspace/shared/outputs (outputs)\n');
    for (const path of ['/usr/local/bin/agent', '/usr/local/bin/mgpu', '/etc/init.d/comfyui', '/etc/systemd/system/comfylet.service'])
      expect(existsSync(machine.at(path)), path).toBe(false);
    for (const user of ['comfyui', 'comfylet']) expect((await machine.run(['getent', 'passwd', user])).code).toBe(2);
    expect((await machine.run(['pgrep', '-f', 'main.py'])).stdout).toBe('');
    expect((await machine.must('systemctl', 'list-units', '--failed', '--plain', '--no-legend')).trim()).toBe('');
    expect(readFileSync(machine.at('/workspace/shared/models/checkpoints/one.safetensors'), 'utf8')).toBe('a model');
    expect(readFileSync(machine.at('/workspace/shared/outputs/gpu0/picture.png'), 'utf8')).toBe('a picture');
    expect(existsSync(machine.at('/etc/comfylet/agent.env'))).toBe(true);
  });

  it('comes back on what was left, though somebody else has its numbers now', async () => {
    // New users of the system get the highest free number: that of the first user that set-up had made.
    await machine.must('useradd', '--system', 'someone-else');
    const { code, stderr } = await setup();
    expect({ code, stderr }).toMatchObject({ code: 0 });
    await machine.untilReady(2);
    expect(await machine.must('find', '/workspace', '/var/lib/comfylet', '/var/lib/comfyui', '-user', 'someone-else')).toBe('');
    expect((await machine.must('find', '/workspace', '/var/lib/comfylet', '-nouser')).trim()).toBe('');
    expect((await machine.must('stat', '-c', '%U', '/workspace/releases')).trim()).toMatch(/^comfy/);
  });

  it('--purge wants a word of confirmation, then leaves nothing but what is not its own', async () => {
    await machine.write('/workspace/thesis.txt', 'mine');
    const refused = await machine.run(['agent', 'setup', '--uninstall', '--purge']);
    expect(refused).toMatchObject({ code: 2, stderr: expect.stringContaining('--yes') });
    await machine.untilReady(2);
    const { code, stderr } = await machine.run(['agent', 'setup', '--uninstall', '--purge', '--yes'], { limitMs: 150_000 });
    expect({ code, stderr }).toMatchObject({ code: 0 });
    expect(await machine.must('ls', '-A', '/workspace')).toBe('thesis.txt\n');
    for (const path of ['/etc/comfylet', '/var/lib/comfylet', '/var/lib/comfyui'])
      await eventually(`${path} is gone`, () => !existsSync(machine.at(path)));
  });
});
