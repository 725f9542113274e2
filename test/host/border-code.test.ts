import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eventually } from '../support/eventually.ts';
import { aSystemdMachine, type SystemdMachine, whyNoSystemd } from '../support/systemd/machine.ts';
import { zipOf } from '../support/zip.ts';

/** A node pack that tries to become the agent, and root: from its scripts, from its import, from a running node, out of an archive. */

const why = whyNoSystemd();
if (why !== null) console.log(`skipped: no systemd can be booted here: ${why}`);

const FIXTURE = join(import.meta.dirname, '../fixtures/border-pack');
const SOURCES = Object.fromEntries(
  readdirSync(FIXTURE).flatMap((name) => (name.endsWith('.py') ? [[name, readFileSync(join(FIXTURE, name), 'utf8')]] : [])),
);
const REGISTRY = 'http://127.0.0.1:8300';
const VERSION = { version: '1.0.0', downloadUrl: `${REGISTRY}/pack.zip`, status: 'NodeVersionStatusActive' };
const PACKS = [
  { name: 'copied', directory: '/opt/border', custom_script: 'python3 -c "import border; border.attack(\'custom_script\')"' },
  { name: 'fetched', registry: 'intruder' },
];
const ENVIRONMENT = 'COMFYUI_REPO=simulator:\nMOCK_GPU=1\nNUM_GPUS=2\nSIM_STARTUP_MS=200\nAGENT_TOKEN_FILE=/etc/comfylet/token\n';
const OUT = '/workspace/shared/outputs';
const STATE = '/var/lib/comfylet';
const WAYS = ['install.py', 'comfyui-trial', 'comfyui-gpu0', 'comfyui-gpu1'];
const LIMIT_MS = 60_000;

let machine: SystemdMachine;
const must = (...command: string[]) => machine.must(...command);
const sh = (script: string) => must('sh', '-c', script);
const agent = (...args: string[]) => machine.run(['env', 'AGENT_RUN_DIR=/run/comfylet', 'agent', ...args], { limitMs: 120_000 });

describe.skipIf(why !== null)('the border between packs and agent', { timeout: 180_000 }, () => {
  beforeAll(async () => {
    machine = await aSystemdMachine({
      files: {
        '/etc/comfylet/agent.env': ENVIRONMENT,
        '/etc/comfylet/agent.yaml': `packs: { registryUrl: "${REGISTRY}" }\n`,
        '/etc/comfylet/token': 'very-secret-token\n',
        '/workspace/shared/config_nodes.json': JSON.stringify({ custom_nodes: PACKS }),
        '/srv/registry/nodes/intruder/versions': JSON.stringify([VERSION]),
        ...Object.fromEntries(Object.entries(SOURCES).map(([name, text]) => [`/opt/border/${name}`, text])),
      },
      owners: { '/etc/comfylet/token': ['comfylet', 0o600], '/workspace/shared': ['comfylet', 0o2775] },
    });
    const parts = Object.entries(SOURCES).map(([name, data]) => ({ name, data }));
    writeFileSync(machine.at('/srv/registry/pack.zip'), zipOf(parts));
    await machine.boot();
    await sh('systemd-run --quiet --unit=registry --working-directory=/srv/registry python3 -m http.server --bind 127.0.0.1 8300');
    await machine.untilReady(2);
    // With the first pack running, and what it has bent and planted.
    expect(await agent('reinstall')).toMatchObject({ code: 0 });
    await machine.untilReady(2);
    expect(await agent('reinstall')).toMatchObject({ code: 0 });
    await machine.untilReady(2);
    await agent('install', '--verify');
  }, 400_000);
  afterAll(() => machine?.close());

  it.each(['copied', 'fetched'])('the pack that was %s has tried each way, and could do what it may', async (pack) => {
    for (const way of WAYS) {
      const report = JSON.parse(await must('cat', `${OUT}/${pack}-${way}.json`)) as Record<string, unknown>;
      expect([way, report]).toEqual([way, { repository: null, 'pack-state': null, work: { drift: 401, doctor: 401 } }]);
    }
    expect(await must('readlink', `/workspace/shared/pack-state/${pack}`)).toBe(`${STATE}\n`);
  });

  it('what it planted for git ran as ComfyUI alone, by its own hand', async () => {
    expect([
      ...new Set((await sh(`cat ${OUT}/ran 2>/dev/null || true`)).split('\n').filter((line) => line !== '' && line !== 'comfyui')),
    ]).toEqual([]);
  });

  it('nothing of it came into the state directory', async () => {
    expect(await must('find', STATE, '-name', 'upgrade.json', '-o', '-name', '.kept')).toBe('');
    expect(await must('find', STATE, '-user', 'comfyui')).toBe('');
    // Told on the packs, which keep it to themselves.
    expect(await sh('cat /workspace/releases/*/release.json')).toContain('is a link of user 64891');
  });

  it('no daemon of a script or of a trial start is left', async () => {
    for (const pack of ['copied', 'fetched'])
      for (const way of ['install.py', 'comfyui-trial']) {
        const pid = (await must('cat', `${OUT}/daemon-${pack}-${way}`)).trim();
        expect([way, (await machine.run(['kill', '-0', pid])).code]).toEqual([way, 1]);
      }
  });

  it('root believes nothing in the state directory, whoever writes there', async () => {
    await sh('echo good >/root/victim && echo evil >/root/victim.previous && cp -p /usr/local/bin/agent /usr/local/bin/agent.previous');
    const digest = (await must('sha256sum', '/root/victim')).split(' ')[0];
    const facts = { agent: '9', commit: null, node: '24', pm2: '7', sha256: digest };
    const by = { pid: 999_999, startTicks: '1' };
    const places = { target: '/root/victim', previous: '/root/victim.previous' };
    const record = { schema: 1, startedAt: new Date().toISOString(), ...places, from: facts, to: facts, by, starts: 3 };
    await machine.write(`${STATE}/upgrade.json`, JSON.stringify(record));
    await must('chown', 'comfylet', `${STATE}/upgrade.json`);
    const before = await machine.mainPid('comfylet');
    await must('systemctl', 'restart', 'comfylet');
    await eventually('another agent runs', async () => (await machine.mainPid('comfylet')) !== before, LIMIT_MS);
    expect((await machine.run(['/usr/local/bin/agent.previous', '__upgrade-guard', STATE])).code).toBe(1);
    expect(await must('cat', '/root/victim')).toBe('good\n');
  });
});
