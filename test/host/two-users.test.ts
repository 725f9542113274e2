import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WITHOUT_RIGHTS } from '../../src/adapters/shell/other-user.ts';
import { eventually } from '../support/eventually.ts';
import { aSystemdMachine, type SystemdMachine, whyNoSystemd } from '../support/systemd/machine.ts';

/** What runs as ComfyUI's user can neither read nor become the agent, by a node pack that tries. */

const why = whyNoSystemd();
if (why !== null) console.log(`skipped: no systemd can be booted here: ${why}`);

interface Report {
  readonly user: string;
  readonly capabilities: readonly string[];
  readonly noNewPrivileges: string;
  readonly knowsSecret: boolean;
  readonly home: string;
  readonly forbidden: Readonly<Record<string, string>>;
  readonly allowed: Readonly<Record<string, string>>;
}

const SPY = join(import.meta.dirname, '../fixtures/spy-pack');
const PACK = { name: 'spy', directory: '/opt/spy', custom_script: 'python3 spy.py custom_script', env: { KEY: `\${PACK_KEY}` } };
const ENVIRONMENT = `COMFYUI_REPO=simulator:
SIM_STARTUP_MS=200
AGENT_TOKEN_FILE=/etc/comfylet/token
SOME_SECRET=very-secret
PACK_KEY=for-the-pack
`;
const NONE = '0000000000000000';

let machine: SystemdMachine;
const must = (...command: string[]) => machine.must(...command);

describe.skipIf(why !== null)('two users', { timeout: 180_000 }, () => {
  beforeAll(async () => {
    machine = await aSystemdMachine({
      cards: { kind: 'fake driver', count: 2 },
      files: {
        '/etc/comfylet/agent.env': ENVIRONMENT,
        '/etc/comfylet/token': 'very-secret-token\n',
        '/workspace/shared/config_nodes.json': JSON.stringify({ custom_nodes: [PACK] }),
        ...Object.fromEntries(
          readdirSync(SPY)
            .filter((name) => name.endsWith('.py'))
            .map((name) => [`/opt/spy/${name}`, readFileSync(join(SPY, name), 'utf8')]),
        ),
      },
      owners: {
        '/etc/comfylet/token': ['comfylet', 0o600],
        '/etc/comfylet/agent.env': ['root', 0o600],
        '/workspace/shared': ['comfylet', 0o2775],
      },
    });
    await machine.boot();
    await machine.untilReady(2);
  });
  afterAll(() => machine?.close());

  it.each(['custom_script', 'install.py', 'comfyui-trial', 'comfyui-gpu0', 'comfyui-gpu1'])(
    '%s can do its work, and nothing else',
    async (who) => {
      const report = JSON.parse(await must('cat', `/workspace/shared/outputs/${who}.json`)) as Report;
      expect(Object.entries(report.forbidden).filter(([, result]) => result !== 'PermissionError')).toEqual([]);
      expect(Object.keys(report.forbidden).length).toBeGreaterThan(10);
      expect(Object.entries(report.allowed).filter(([, result]) => result !== 'done')).toEqual([]);
      expect(report).toMatchObject({
        user: 'comfyui',
        capabilities: [NONE, NONE, NONE, NONE],
        noNewPrivileges: '1',
        knowsSecret: false,
        home: '/var/lib/comfyui',
      });
    },
  );

  it('programs that the agent runs for itself have none of its rights', async () => {
    const rights = async (...before: readonly string[]): Promise<string> => {
      const agent = [
        'setpriv',
        '--reuid',
        'comfylet',
        '--regid',
        'comfylet',
        '--init-groups',
        '--inh-caps=+kill,+setuid',
        '--ambient-caps=+kill,+setuid',
      ];
      return must(...agent, ...before, 'grep', '^Cap[IPEA]', '/proc/self/status');
    };
    // The agent itself has some, and so would they.
    expect(await must('grep', '^Cap[PEA]', `/proc/${await machine.mainPid('comfylet')}/status`)).toMatch(/CapAmb:\t(?!0{16})/);
    expect(await rights()).toMatch(/CapAmb:\t(?!0{16})/);
    expect(await rights(...WITHOUT_RIGHTS)).toBe(`CapInh:\t${NONE}\nCapPrm:\t${NONE}\nCapEff:\t${NONE}\nCapAmb:\t${NONE}\n`);
    expect(await must('cat', '/var/lib/comfylet/git-without-rights')).toContain(WITHOUT_RIGHTS.map((word) => `'${word}'`).join(' '));
  });

  it('the agent ends and clears away what is of the other user, also what that one made private', async () => {
    const before = (await machine.instances()).map(({ pid }) => pid);
    const old = (await machine.instances())[0]?.release ?? '';
    const agent = ['env', 'AGENT_RUN_DIR=/run/comfylet', 'agent'];
    await must(...agent, 'reinstall');
    await eventually(
      'others are ready, from another release',
      async () => {
        const instances = await machine.instances();
        return instances.every(({ ready, pid, release }) => ready && !before.includes(pid) && release !== old);
      },
      60_000,
    );
    const secret = `/workspace/releases/${old}/ComfyUI/custom_nodes/spy/private`;
    const made = await machine.run(['sh', '-c', `mkdir -m 0700 ${secret} && touch ${secret}/file && chmod 0600 ${secret}/file`], {
      user: 'comfyui',
    });
    expect(made).toMatchObject({ code: 0, stderr: '' });
    await machine.write('/etc/comfylet/agent.yaml', 'releases: { keep: 1 }\n');
    await must(...agent, 'reinstall');
    await eventually('the first release is gone', async () => !(await must('ls', '/workspace/releases')).includes(old), 60_000);
    await machine.untilReady(2);
  });

  it('without the agent no node pack is installed with its rights, whoever asks', async () => {
    const report = '/workspace/shared/outputs/install.py.json';
    await must('systemctl', 'stop', 'comfylet');
    await must('rm', '-f', report);
    const places = ['AGENT_ROOT=/workspace', 'AGENT_STATE_DIR=/var/lib/comfylet', 'AGENT_RUN_DIR=/run/comfylet-test', 'HOME=/tmp'];
    const install = ['env', ...places, 'COMFYUI_REPO=simulator:', 'agent', 'reinstall'];
    for (const user of ['comfylet', undefined]) {
      const { code, stderr } = await machine.run(install, user === undefined ? {} : { user });
      expect([user, code, stderr]).toEqual([
        user,
        4,
        expect.stringMatching(/^help: start the agent \(`systemctl start comfylet`\)(?!.*sudo)/m),
      ]);
    }
    await machine.run([...install.slice(0, -2), 'AGENT_COMFYUI_USER=comfyui', 'agent', 'reinstall'], { user: 'comfylet' });
    expect((await machine.run(['test', '-e', report])).code).not.toBe(0);
    await must('systemctl', 'start', 'comfylet');
    await machine.untilReady(2);
  });
});
