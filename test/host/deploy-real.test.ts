import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DeployDocument, type DeployHost } from '../../src/domain/host/deploy.ts';
import { AGENT, baseEnvironment } from '../support/agent/agent.ts';
import { type Finished, start } from '../support/host/ssh-host.ts';
import { makeSshKey } from '../support/host/sshd.ts';
import { aFreshMachine, type FreshMachine } from '../support/systemd/fresh-machine.ts';
import { whyNoSystemd } from '../support/systemd/machine.ts';
import { serveSsh, whyNoSshd } from '../support/systemd/ssh.ts';
import { type TempRoot, tempRoot } from '../support/temp-root.ts';

/** `agent deploy` of real executables to two machines with a real systemd and a real sshd. Each test begins with what the one before has left. */

const why = whyNoSystemd() ?? whyNoSshd();
if (why !== null) console.log(`skipped: no systemd can be booted here, or no sshd: ${why}`);

const repository = resolve(import.meta.dirname, '../..');
const SECRETS = 'COMFYUI_REPO=simulator:\nMOCK_GPU=1\nNUM_GPUS=2\nSIM_STARTUP_MS=200\nAGENT_TOKEN=hunter2-hunter2\n';
const ROOT = '/home/ubuntu/comfyui';

describe.skipIf(why !== null)('agent deploy to real machines', { timeout: 240_000 }, () => {
  let place: TempRoot;
  let machines: readonly FreshMachine[] = [];

  /** An executable of its own. */
  const make = (name: string): string => {
    const script = (file: string, ...args: readonly string[]): void =>
      void execFileSync(process.execPath, [join(repository, 'scripts', file), ...args], { stdio: ['ignore', 'ignore', 'pipe'] });
    const dist = place.at(`${name}-dist`);
    script('build.ts', '--out', dist, '--no-warm', '--agent-version', name);
    script('build-binary.ts', '--dist', dist, '--no-code-cache', '--out', place.at(name));
    return place.at(name);
  };
  let first = '';
  let second = '';
  let inUse = '';

  beforeAll(async () => {
    place = await tempRoot();
    first = process.env['AGENT_BINARY'] ?? make('0.1.0');
    second = make('9.9.9');
    inUse = first;
    machines = await Promise.all([aFreshMachine(), aFreshMachine()]);
    const entries: string[] = [];
    const known: string[] = [];
    for (const [index, machine] of machines.entries()) {
      // As the images of that provider have it.
      await machine.must('install', '-d', '-m', '0750', '-o', '1000', '-g', '1000', '/home/ubuntu');
      mkdirSync(place.at(`ssh-${index}`));
      const ssh = await serveSsh(machine, place.at(`ssh-${index}`));
      known.push(ssh.knownHosts);
      entries.push(ssh.entry(index === 0 ? 'one' : 'two'));
      if (index === 0) {
        const other = readFileSync(`${await makeSshKey(place.path, 'other')}.pub`, 'utf8').split(' ')[1] ?? '';
        const text = readFileSync(ssh.knownHosts, 'utf8').replace(/ AAAA\S+/, ` ${other}`);
        writeFileSync(place.at('changed'), text);
        entries.push(ssh.entry('changed', { knownHosts: place.at('changed') }));
      }
    }
    expect(known).toHaveLength(2);
    await writeFiles({ configuration: 'health:\n  minReady: 2\n', secrets: SECRETS });
    writeFileSync(place.at('ssh_config'), entries.join('\n'));
  }, 240_000);
  afterAll(async () => {
    await Promise.all(machines.map((machine) => machine.close()));
    await place?.remove();
  });

  const writeFiles = async ({ configuration, secrets }: { readonly configuration?: string; readonly secrets?: string }): Promise<void> => {
    if (configuration !== undefined) writeFileSync(place.at('agent.yaml'), configuration);
    if (secrets !== undefined) writeFileSync(place.at('agent.env'), secrets);
  };
  const run = (...args: string[]): Promise<Finished> => {
    const program = process.env['AGENT_BINARY'];
    const environment = Object.entries({ ...baseEnvironment(), HOME: place.path }).map(([name, value]) => `${name}=${value}`);
    const files = ['--binary', inUse, '--config', place.at('agent.yaml'), '--secrets', place.at('agent.env')];
    const how = ['--ssh-config', place.at('ssh_config'), '--provider', 'lambda', '--timeout', '150s'];
    return start('env', [
      ...['-i', ...environment],
      ...(program === undefined ? [process.execPath, AGENT] : [program]),
      ...['deploy', ...args, ...files, ...how],
    ]).finished;
  };
  const deploy = async (...hosts: string[]): Promise<readonly DeployHost[]> => {
    const { stdout, stderr } = await run(...hosts, '--json');
    if (stdout === '') throw new Error(stderr);
    expect(`${stdout}${stderr}`).not.toContain('hunter2');
    return DeployDocument.parse(JSON.parse(stdout)).hosts;
  };
  const outcome = (hosts: readonly DeployHost[]) => hosts.map(({ host, step, error }) => [host, step, error?.code ?? null, error?.message]);
  const DONE = [
    ['one', 'done', null, undefined],
    ['two', 'done', null, undefined],
  ];
  const pids = async (): Promise<readonly (readonly (number | null)[])[]> =>
    Promise.all(machines.map(async (machine) => (await machine.untilReady(2)).map(({ pid }) => pid)));
  const agents = (): Promise<readonly number[]> => Promise.all(machines.map((machine) => machine.mainPid('comfylet')));

  /** Of a deploy: what is configured, and nothing of the way there. */
  const left = (machine: FreshMachine): Promise<string> =>
    machine.must('sh', '-c', 'ls -A /etc/comfylet; find /var/tmp -name "agent-deploy*"');

  it('makes two fresh machines that serve, side by side, from a closed home', async () => {
    const { code, stdout, stderr } = await run('one', 'two');
    expect({ code, stdout, stderr }).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^HOST .*\none {3}\S healthy .*\ntwo {3}\S healthy .*\n$/),
    });
    expect(stdout + stderr).not.toContain('hunter2');
    await pids();
    for (const machine of machines) {
      expect(await machine.must('stat', '-c', '%a %U:%G', '/etc/comfylet/agent.env', '/etc/comfylet/agent.yaml', '/home/ubuntu')).toMatch(
        /^600 root:root\n640 root:comfylet\n750 /,
      );
      expect(await left(machine)).toBe('agent.env\nagent.yaml\n');
      expect(await machine.must('ls', '-A', `${ROOT}/releases`)).not.toBe('');
      expect((await machine.must('systemctl', 'list-units', '--failed', '--plain', '--no-legend')).trim()).toBe('');
    }
  });

  it('a second time changes nothing: no agent and no instance is another', async () => {
    const before = [await agents(), await pids()];
    expect(outcome(await deploy('one', 'two'))).toEqual(DONE);
    expect([await agents(), await pids()]).toEqual(before);
  });

  it('other secrets and another configuration are in force after it, and the instances go on', async () => {
    const before = [await agents(), await pids()] as const;
    await writeFiles({ configuration: 'health:\n  minReady: 1\n', secrets: SECRETS.replace('hunter2-hunter2', 'hunter2-hunter3') });
    expect(outcome(await deploy('one', 'two'))).toEqual(DONE);
    expect(await pids()).toEqual(before[1]);
    for (const [index, machine] of machines.entries()) {
      const pid = await machine.mainPid('comfylet');
      expect(pid).not.toBe(before[0][index]);
      expect(await machine.must('cat', `/proc/${pid}/environ`)).toContain('AGENT_TOKEN=hunter2-hunter3');
      expect(await machine.must('agent', 'config', 'show')).toMatch(/health\.minReady +1 /);
      expect(await left(machine)).toBe('agent.env\nagent.yaml\n');
    }
  });

  it('a newer program replaces the old one as an upgrade, and the instances go on', async () => {
    inUse = second;
    const before = await pids();
    const planned = await run('one', '--dry-run', '--json');
    expect(DeployDocument.parse(JSON.parse(planned.stdout)).hosts[0]?.plan).toContainEqual(expect.stringMatching(/^agent upgrade: /));
    expect(outcome(await deploy('one', 'two'))).toEqual(DONE);
    expect(await pids()).toEqual(before);
    for (const machine of machines) {
      expect(((await machine.get('/v1/version')).body as { agent: string }).agent).toBe('9.9.9');
      expect(existsSync(machine.at('/usr/local/bin/agent.previous'))).toBe(true);
      expect(await left(machine)).toBe('agent.env\nagent.yaml\n');
    }
  });

  it('a bad host among good ones: one line each, and what was refused is not left behind', async () => {
    const before = [await agents(), await pids()];
    const good = readFileSync(place.at('agent.yaml'), 'utf8');
    const { code, stdout } = await run('changed', 'two');
    expect(code).toBe(1);
    expect(stdout).toMatch(/^HOST .*\nchanged {2}\S HOST_KEY_CHANGED: .*\ntwo {6}\S healthy .*\n/);
    await writeFiles({ configuration: 'gpu:\n  pin: sideways\n' });
    const [one] = await deploy('one');
    expect(one).toMatchObject({
      step: 'failed',
      error: { code: 'CONFIG_INVALID', message: expect.stringMatching(/agent\.yaml:2: gpu\.pin: .*sideways/) },
    });
    expect(readFileSync(machines[0]?.at('/etc/comfylet/agent.yaml') ?? '', 'utf8').startsWith(good)).toBe(true);
    expect([await agents(), await pids()]).toEqual(before);
  });
});
