import { appendFileSync, copyFileSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import { baseEnvironment } from '../agent/agent.ts';
import { eventually } from '../eventually.ts';
import { CANARIES, putSpies, REGISTRY, SITES, SPIES, SPY_LIST, type Spy } from '../git/spy-packs.ts';
import { uvOnPath } from '../python/uv.ts';
import { tempRoot } from '../temp-root.ts';
import { aSystemdMachine, type CommandResult, type SystemdMachine } from './machine.ts';

/** A machine on which the spy was installed twice, ran, and everybody walked by what it had laid; and what came of it. */

const STATE = '/var/lib/comfylet';
const OUT = '/workspace/shared/outputs';
const COMFYUI = 64_891;
const TOLD_BY_HTTP = ['/health', '/health/comfyui', '/health/comfyui/installation', '/v1/plan', '/v1/state', '/v1/discovery', '/metrics'];
/** Of a closed place: everything by owner, mode, time and content. */
const LOOK = `cd / && find ${STATE}/precious workspace/agent-only/precious closed root/victim usr/local/bin/agent etc/comfylet -printf '%p %u %m %T@ %s\\n' -type f -exec sha256sum {} + | sort`;
/** As people use it: on this side of the border, while the spy is about. */
const OPERATOR: readonly (readonly string[])[] = [
  ['install', '--verify'],
  ['doctor'],
  ['plan'],
  ['health', 'installation'],
  ['cleanup'],
  ['reinstall'],
  ['install', '--verify'],
  ['logs', 'install'],
  ['releases'],
];

export type Report = Readonly<Record<string, readonly [result: 'refused' | 'laid' | 'got' | 'failed', how: string]>>;

export interface Findings {
  /** By pack and site, of the last time. */
  readonly reports: ReadonlyMap<string, Report>;
  /** A line `TRAP PACK-SITE` for each that ran as somebody else than ComfyUI. */
  readonly ranAsOthers: readonly string[];
  /** By where it was said: text that may hold a secret. */
  readonly told: Readonly<Record<string, string>>;
  /** Files that ComfyUI's user can read, or owns, and that hold a secret. */
  readonly leaked: readonly string[];
  /** Of closed places. */
  readonly before: string;
  readonly after: string;
  /** Names of PACK-SITE whose daemon outlived it. */
  readonly daemons: readonly string[];
  /** As systemd has it for the agent's unit. */
  readonly errnoOfUnit: string;
  readonly exportMs: number;
  readonly restartMs: number;
}

export interface SpyMachine {
  readonly machine: SystemdMachine;
  readonly findings: Findings;
  close(): Promise<void>;
}

const SETTINGS = `packs: { registryUrl: "${REGISTRY}" }
cleanup: { minAgeMs: 1000, outputs: { maxAgeMs: 0 }, temp: { maxAgeMs: 0 }, caches: { maxAgeMs: 0 } }
`;
const ENVIRONMENT = `COMFYUI_REPO=simulator:
MOCK_GPU=1
NUM_GPUS=1
SIM_STARTUP_MS=200
AGENT_TOKEN_FILE=/etc/comfylet/token
HIDDEN=${CANARIES.environment}
`;

async function boot(root: Awaited<ReturnType<typeof tempRoot>>): Promise<SystemdMachine> {
  const uv = await uvOnPath(root.at('uv'), baseEnvironment());
  if ('skipped' in uv) throw new Error(uv.skipped);
  const machine = await aSystemdMachine({
    files: {
      '/etc/comfylet/agent.env': ENVIRONMENT,
      '/etc/comfylet/agent.yaml': SETTINGS,
      '/etc/comfylet/token': `${CANARIES.token}\n`,
      '/closed/agent.env': `${CANARIES.closed}\n`,
      '/closed/__init__.py': '',
      [`${STATE}/precious/note`]: CANARIES.state,
      '/workspace/agent-only/precious/note': CANARIES.only,
      '/var/lib/comfylet-upgrade/about': '',
      '/root/victim': 'good\n',
      '/root/victim.previous': 'evil\n',
      '/workspace/shared/config_nodes.json': SPY_LIST,
    },
    owners: {
      '/etc/comfylet/agent.env': ['root', 0o600],
      '/etc/comfylet/token': ['comfylet', 0o600],
      '/closed': ['root', 0o700],
      '/closed/agent.env': ['root', 0o600],
      [STATE]: ['comfylet', 0o750],
      [`${STATE}/precious`]: ['comfylet', 0o700],
      [`${STATE}/precious/note`]: ['comfylet', 0o600],
      '/workspace/agent-only': ['comfylet', 0o2700],
      '/workspace/agent-only/precious': ['comfylet', 0o2700],
      '/workspace/agent-only/precious/note': ['comfylet', 0o600],
      '/workspace/shared': ['comfylet', 0o2775],
    },
  });
  appendFileSync(machine.at('/etc/shadow'), `spy:${CANARIES.passwords}:20000:0:99999:7:::\n`);
  copyFileSync(realpathSync(join(uv.path, 'uv')), machine.at('/usr/local/bin/uv'));
  await putSpies(machine.at, root);
  await machine.boot();
  return machine;
}

const asAgent = (machine: SystemdMachine, ...args: readonly string[]): Promise<CommandResult> =>
  machine.run(['env', 'AGENT_RUN_DIR=/run/comfylet', 'agent', ...args], { limitMs: 120_000 });

/** @throws Error when a machine could not be made, or the agent did not serve; what the spy got is for the caller to judge */
export async function aSpyMachine(): Promise<SpyMachine> {
  const root = await tempRoot();
  const machine = await boot(root).catch(async (error: unknown) => {
    await root.remove();
    throw error;
  });
  const close = async (): Promise<void> => {
    await machine.close();
    await root.remove();
  };
  try {
    return { machine, findings: await find(machine), close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function find(machine: SystemdMachine): Promise<Findings> {
  const sh = (script: string) => machine.must('sh', '-c', script);
  const before = await sh(LOOK);
  await sh('systemd-run --quiet --unit=registry --working-directory=/srv/registry python3 -m http.server --bind 127.0.0.1 8300');
  await machine.untilReady(1, 120_000);
  await runNodes(machine);
  const errnoOfUnit = await machine.property('comfylet', 'StatusErrno');
  // Those of an import belong to the instance that runs.
  const daemonsOf = async (sites: readonly string[]): Promise<readonly string[]> =>
    (await alive(machine)).filter((name) => sites.some((site) => name.endsWith(`-${site}`)));
  const scripts = await daemonsOf(['install.py', 'trial']);
  const said: string[] = [];
  for (const words of OPERATOR) {
    const { stdout, stderr } = await asAgent(machine, ...words);
    said.push(`${words.join(' ')}\n${stdout}${stderr}`);
  }
  await machine.untilReady(1);
  const daemons = [...new Set([...scripts, ...(await daemonsOf(['install.py', 'trial', 'node']))])];
  const begun = performance.now();
  const { stdout: status } = await asAgent(machine, 'status', '--verbose');
  await asAgent(machine, 'logs', '--export', '/root/support.tar.gz');
  const exportMs = performance.now() - begun;
  const http = Object.fromEntries(
    await Promise.all(TOLD_BY_HTTP.map(async (path) => [`GET ${path}`, JSON.stringify((await machine.get(path)).body)] as const)),
  );
  const stopped = performance.now();
  await machine.must('systemctl', 'restart', 'comfylet');
  const restartMs = performance.now() - stopped;
  await machine.untilReady(1);
  const secrets = Object.values(CANARIES).join('|');
  return {
    reports: await reportsOf(machine),
    ranAsOthers: (await sh(`cd ${OUT}; for f in ran-by-*; do test $f = ran-by-${COMFYUI} || cat $f; done`)).split('\n').filter(Boolean),
    told: {
      ...http,
      'the status': status,
      'what commands said': said.join('\n'),
      'the support archive': await sh('tar -xzOf /root/support.tar.gz'),
      'the journal': await sh('journalctl --no-pager -o cat'),
      'records of releases': await sh('cat /workspace/agent-only/releases/*/*.json'),
      'the lock': await sh('cat /workspace/agent.lock.json'),
      'logs of installations': await sh('cat /workspace/logs/install-*'),
    },
    leaked: (
      await sh(
        `grep -rlE --devices=skip '${secrets}' /workspace /var/lib/comfyui /tmp /var/tmp /run 2>/dev/null | grep -v ^/workspace/agent-only/precious/ || true`,
      )
    )
      .split('\n')
      .filter(Boolean),
    before,
    after: await sh(LOOK),
    daemons,
    errnoOfUnit,
    exportMs,
    restartMs,
  };
}

/** A prompt with the node of each spy, which lays everything once more. */
async function runNodes(machine: SystemdMachine): Promise<void> {
  const prompt = Object.fromEntries(Object.keys(SPIES).map((spy) => [spy, { class_type: `Spy-${spy}`, inputs: { who: 'x' } }]));
  const send = `import urllib.request as r; r.urlopen(r.Request("http://127.0.0.1:8188/prompt", data=b'${JSON.stringify({ prompt })}', headers={"content-type": "application/json"}))`;
  await machine.must('python3', '-c', send);
  await eventually('all nodes have run', async () => (await machine.must('ls', OUT)).match(/-node\.json$/gm)?.length === 3, 60_000);
}

async function reportsOf(machine: SystemdMachine): Promise<ReadonlyMap<string, Report>> {
  const names = (Object.keys(SPIES) as Spy[]).flatMap((spy) => SITES.map((site) => `${spy}-${site}`));
  return new Map(
    await Promise.all(
      names.map(async (name) => [name, JSON.parse(await machine.must('cat', `${OUT}/spy-${name}.json`)) as Report] as const),
    ),
  );
}

async function alive(machine: SystemdMachine): Promise<readonly string[]> {
  const script = `cd ${OUT}; for f in daemon-*; do kill -0 $(cat $f) 2>/dev/null && echo $f; done; true`;
  return (await machine.must('sh', '-c', script)).split('\n').flatMap((line) => (line === '' ? [] : [line.replace('daemon-', '')]));
}
