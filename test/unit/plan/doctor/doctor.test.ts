import { describe, expect, it } from 'vitest';
import type { Gpu } from '../../../../src/domain/cards/gpu.ts';
import type { XidEvent } from '../../../../src/domain/cards/xid.ts';
import { Finding } from '../../../../src/domain/doctor/doctor.ts';
import type { ErrorCode } from '../../../../src/domain/errors/registry.ts';
import { known, unknown } from '../../../../src/domain/observed.ts';
import { diagnose, summarize } from '../../../../src/plan/doctor/doctor.ts';
import type { DoctorFacts, InstanceCard } from '../../../../src/plan/doctor/facts.ts';
import { isKnown, sshHost } from '../../../../src/plan/doctor/inputs.ts';
import { aConfig, aGpu, aReading, NOW } from '../../../support/machine/builders.ts';

/** A machine in order with two cards. */
const facts = (change: Partial<DoctorFacts> = {}): DoctorFacts => ({
  root: '/workspace',
  config: aConfig({ gpu: { mode: 'actual' } }),
  configuration: { file: '/workspace/agent.yaml', problems: [], warnings: [] },
  inputs: [{ path: '/workspace/shared/config_nodes.json', problems: [], warnings: [] }],
  repositories: [{ label: 'comfyui.repository', url: 'https://github.com/stakeordie/ComfyUI.git' }],
  reachable: { ok: true, value: 'it answers' },
  ssh: { program: '/usr/bin/ssh', key: 'none', knownHosts: 'github.com ssh-ed25519 AAAA' },
  certificates: '/etc/ssl/certs/ca-certificates.crt',
  rootWritable: { ok: true, value: null },
  freeBytes: known(800 * 1024 ** 3),
  inodes: { free: 60_000_000, total: 64_000_000 },
  python: { ok: true, value: '3.11.7' },
  git: { ok: true, value: '2.39.5' },
  programs: { uv: null, ps: '/usr/bin/ps' },
  gpus: { ok: true, value: aReading(aGpu(0), aGpu(1)) },
  cards: (change.gpus?.ok ?? true) ? known(change.gpus?.ok === true ? change.gpus.value : aReading(aGpu(0), aGpu(1))) : unknown('not read'),
  xids: { ok: true, value: [] },
  instanceCards: { ok: true, value: [] },
  portHolders: { ok: true, value: [] },
  ownPids: known(new Set()),
  agentPid: null,
  pm2Pid: known(null),
  unfinishedReleases: [],
  setAside: [],
  unhosted: known([]),
  now: NOW,
  lastSeen: NOW - 1_000,
  ...change,
});

const failed = (message: string, code: ErrorCode = 'INTERNAL') => ({ ok: false as const, code, message, help: 'do something' });
const config = (input: Parameters<typeof aConfig>[0]) => aConfig({ gpu: { mode: 'actual' }, ...input });
const stranger = (tcpPort: number, pid: number | null = 991) => ({
  ok: true as const,
  value: [{ tcpPort, pid, command: 'python3 -m http.server' }],
});
const seenBy = (change: Partial<InstanceCard>) => ({
  ok: true as const,
  value: [{ gpu: 0, pid: 4711, startedAt: NOW - 60_000, pids: [4711], visibleDevices: 'GPU-00000000', ...change }],
});
const oneCard = (change: Partial<Gpu>) => ({ ok: true as const, value: aReading(aGpu(0, change)) });
const noEcc = { uncorrectedVolatile: 0, uncorrectedAggregate: 0, retirementPending: null, remapPending: null, remapFailed: null };
const cool = { hardwareThermal: false, softwareThermal: false, powerBrake: false, powerCap: false };
const anXid = (code: number, change: Partial<XidEvent> = {}) => ({
  ok: true as const,
  value: [{ at: NOW - 5_000, pciBusId: '0000:00:00', code, pid: null, text: `NVRM: Xid (PCI:0000:00:00): ${code}`, ...change }],
});
const withSsh = [{ label: 'pack X', url: 'git@git.example:team/x.git' }];

describe('diagnose', () => {
  it('finds nothing in the way on a machine in order', () => {
    const document = summarize(facts(), new Date(NOW).toISOString());
    expect(document.ok).toBe(true);
    expect(document.findings.filter(({ status }) => status !== 'ok')).toEqual([]);
  });

  const cases: readonly (readonly [what: string, change: Partial<DoctorFacts>, finding: string, words: string])[] = [
    [
      'bad configuration',
      { configuration: { file: null, problems: ['agent.yaml:3: gpu.mode: found "x"'], warnings: [] } },
      'fail config',
      'gpu.mode',
    ],
    [
      'odd configuration',
      { configuration: { file: null, problems: [], warnings: ['COMFYUI_ROOT is no variable'] } },
      'warn config',
      'no variable',
    ],
    [
      'bad packs file',
      { inputs: [{ path: 'x', problems: ['config_nodes.json:4: pack A: it has no url'], warnings: [] }] },
      'fail files',
      'pack A',
    ],
    [
      'a card that was there',
      { gpus: oneCard({}), cards: known(aReading(aGpu(0), aGpu(1, { state: 'missing' }))) },
      'fail gpu faults',
      'slot 1: its card GPU-00000001 (NVIDIA Test at 0000:01:00) is missing; `agent gpus accept` forgets it',
    ],
    ['a lost card', { gpus: oneCard({ state: 'lost' }) }, 'fail gpu faults', 'is lost'],
    ['a card that wants a reset', { gpus: oneCard({ state: 'reset-required' }) }, 'fail gpu faults', 'asks for a reset'],
    ['a card off the bus by the kernel log', { xids: anXid(79) }, 'fail gpu faults', 'Xid 79'],
    ['a crash by the kernel log', { xids: anXid(31) }, 'warn gpu faults', 'Xid 31'],
    ['a kernel log that may not be read', { xids: failed('the kernel log cannot be read: no') }, 'unknown gpu faults', 'kernel log'],
    ['no spare rows', { gpus: oneCard({ ecc: { ...noEcc, remapFailed: true } }) }, 'fail gpu faults', 'no spare rows'],
    ['a row to be remapped', { gpus: oneCard({ ecc: { ...noEcc, remapPending: true } }) }, 'warn gpu faults', 'at its next reset'],
    ['heat', { gpus: oneCard({ throttle: { ...cool, hardwareThermal: true } }) }, 'warn gpu faults', 'too hot'],
    ['the power brake', { gpus: oneCard({ throttle: { ...cool, powerBrake: true } }) }, 'warn gpu faults', 'power supply'],
    ['memory of nobody', { gpus: oneCard({ memoryUsedBytes: 20 * 1024 ** 3 }) }, 'warn gpu faults', 'although its process has ended'],
    [
      'an instance on another card',
      { instanceCards: seenBy({ visibleDevices: 'GPU-00000001' }) },
      'fail gpu faults',
      'sees card GPU-00000001',
    ],
    [
      'root of another user',
      { rootWritable: failed('/workspace could not be written: permission denied') },
      'fail root',
      'permission denied',
    ],
    ['full disk', { freeBytes: known(100 * 1024 ** 2) }, 'fail disk', '100 MB free'],
    ['disk without inodes', { inodes: { free: 0, total: 2_500 } }, 'fail disk', '0 of 2500 inodes free'],
    ['small disk', { freeBytes: known(20 * 1024 ** 3) }, 'warn disk', '20 GB free'],
    ['unknown disk', { freeBytes: unknown('the filesystem does not say') }, 'unknown disk', 'does not say'],
    ['clock at the epoch', { now: Date.UTC(1970, 0, 2), lastSeen: null }, 'fail clock', '1970'],
    ['clock set back', { lastSeen: NOW + 3_600_000 }, 'warn clock', 'already used'],
    ['no ps', { programs: { uv: null, ps: null } }, 'fail ps', 'PM2'],
    ['no python', { python: failed('python3 was not found') }, 'fail python', 'not found'],
    ['old python', { python: { ok: true, value: '3.8.10' } }, 'fail python', '3.9 or newer'],
    [
      'old python, another asked of uv',
      { python: { ok: true, value: '3.8.10' }, config: config({ python: { version: '3.11' } }) },
      'warn python',
      'uv looks for 3.11',
    ],
    ['no git', { git: failed('git was not found') }, 'fail git', 'not found'],
    [
      'no git, simulator',
      { git: failed('git was not found'), config: config({ comfyui: { repository: 'simulator:' } }) },
      'warn git',
      'not found',
    ],
    [
      'no certificates, repository does not answer',
      { certificates: null, reachable: failed('no') },
      'fail certificates',
      'comfyui.repository',
    ],
    ['no certificates, repository not asked', { certificates: null, reachable: null }, 'fail certificates', 'https'],
    [
      'ssh without key',
      { repositories: withSsh, ssh: { program: '/usr/bin/ssh', key: 'none', knownHosts: 'git.example ssh-ed25519 A' } },
      'fail ssh',
      'no SSH key',
    ],
    [
      'ssh with a bad key',
      {
        repositories: withSsh,
        ssh: { program: '/usr/bin/ssh', key: { problem: 'it is cut off', help: 'check the key' }, knownHosts: 'git.example ssh-ed25519 A' },
      },
      'fail ssh',
      'cut off',
    ],
    [
      'ssh to an unknown host',
      { repositories: withSsh, ssh: { program: '/usr/bin/ssh', key: 'usable', knownHosts: 'github.com ssh-ed25519 A' } },
      'fail ssh',
      'git.example',
    ],
    [
      'ssh with hashed hosts',
      { repositories: withSsh, ssh: { program: '/usr/bin/ssh', key: 'usable', knownHosts: '|1|abc=|def= ssh-ed25519 A' } },
      'unknown ssh',
      'hashed',
    ],
    [
      'ssh without ssh',
      { repositories: withSsh, ssh: { program: null, key: 'usable', knownHosts: 'git.example ssh-ed25519 A' } },
      'fail ssh',
      'program ssh',
    ],
    ['repository silent', { reachable: failed('it did not answer within 15 s') }, 'fail repository', 'did not answer'],
    ['no repository at all', { repositories: [{ label: 'pack X', url: 'ext::sh -c x' }] }, 'fail repository', 'pack X'],
    ['no driver', { gpus: { ok: true, value: aReading() } }, 'fail gpu', 'no NVIDIA driver'],
    ['driver hangs', { gpus: failed('nvidia-smi did not answer within 5 s') }, 'fail gpu', '5 s'],
    ['too few cards', { config: config({ gpu: { mode: 'actual', count: 4 } }) }, 'warn gpu', '4 GPUs are asked for'],
    [
      'a stranger computes',
      {
        gpus: {
          ok: true,
          value: aReading(
            aGpu(0, { processes: [{ pid: 7, name: 'miner', memoryBytes: 8 * 1024 ** 3, type: 'compute', migDevice: null }] }),
          ),
        },
      },
      'fail gpu',
      'miner',
    ],
    [
      'torch newer than the driver',
      { config: config({ python: { torch: 'cu130' } }), gpus: { ok: true, value: aReading(aGpu(0, { driverVersion: '535.183.01' })) } },
      'fail torch',
      'cu126',
    ],
    ['driver too old', { gpus: { ok: true, value: aReading(aGpu(0, { driverVersion: '418.40' })) } }, 'warn torch', 'older than'],
    ['torch unknown while the driver is silent', { gpus: failed('silent') }, 'unknown torch', 'once the driver answers'],
    ['cards left unused', { config: config({ python: { torch: 'cpu' } }) }, 'warn torch', 'although there are cards'],
    ['port held', { portHolders: stranger(8189) }, 'fail ports', 'port 8189 of gpu 1 is held by pid 991 (python3 -m http.server)'],
    [
      'port held, next one allowed',
      { portHolders: stranger(8189), config: config({ ports: { onConflict: 'next' } }) },
      'warn ports',
      'port 8189 of gpu 1',
    ],
    ['port held by another user', { portHolders: stranger(8188, null) }, 'warn ports', 'another user'],
    ['own port held', { portHolders: stranger(9090) }, 'fail ports', 'where the agent listens'],
    ['ports beyond the last', { config: config({ ports: { first: 65_535 } }) }, 'fail ports', '65536'],
    ['ports unreadable', { portHolders: failed('/proc/net/tcp cannot be read') }, 'unknown ports', 'cannot be read'],
    ['external PM2 is down', { config: config({ pm2: { mode: 'external' } }) }, 'fail pm2', 'AGENT_PM2=external'],
    ['PM2 of a dead agent', { pm2Pid: known(77) }, 'warn pm2', 'pid 77'],
    ['PM2 gone under a living agent', { agentPid: 5 }, 'fail pm2', 'although the agent'],
    ['PM2 silent', { pm2Pid: unknown('it hangs') }, 'unknown pm2', 'it hangs'],
    [
      'instances that nobody hosts',
      { unhosted: known([{ name: 'comfyui-gpu0', pids: [7, 8] }]) },
      'warn leftovers',
      'pid 7, 8 of comfyui-gpu0 run on',
    ],
    ['damaged state', { setAside: ['/workspace/state/agent.db.damaged'] }, 'warn state', 'agent.db.damaged'],
    ['half built release', { unfinishedReleases: ['20261121-000000-aaaa'] }, 'warn leftovers', '20261121'],
  ];

  it.each(cases)('%s', (_, change, finding, words) => {
    const bad = diagnose(facts(change)).filter(({ status }) => status !== 'ok');
    expect(bad.map(({ status, check }) => `${status} ${check}`)).toContain(finding);
    const found = bad.find(({ status, check }) => `${status} ${check}` === finding);
    expect(found?.message).toContain(words);
    // What fails or warns is worth nothing without a remedy.
    for (const each of bad) if (each.status === 'fail' || each.status === 'warn') expect(each.help?.length ?? 0).toBeGreaterThan(3);
    for (const each of bad) Finding.parse(each);
  });

  it('takes its own instances and its own agent for no strangers', () => {
    const found = diagnose(
      facts({
        agentPid: 5,
        ownPids: known(new Set([991])),
        pm2Pid: known(6),
        portHolders: {
          ok: true,
          value: [
            { tcpPort: 8188, pid: 991, command: 'x' },
            { tcpPort: 9090, pid: 5, command: 'agent' },
          ],
        },
      }),
    );
    expect(found.filter(({ status }) => status !== 'ok')).toEqual([]);
  });

  it('takes what it cannot tell apart from its own instances for no strangers either', () => {
    const stranger = { pid: 991, name: 'python3', memoryBytes: 8 * 1024 ** 3, type: 'compute' as const, migDevice: null };
    const found = diagnose(
      facts({
        config: aConfig({ gpu: { mode: 'actual' } }),
        gpus: { ok: true, value: { present: true, gpus: [aGpu(0, { processes: [stranger] })] } },
        ownPids: unknown('/proc does not show process 990, which is there'),
        portHolders: { ok: true, value: [{ tcpPort: 8188, pid: 991, command: 'x' }] },
      }),
    ).filter(({ check, status }) => (check === 'gpu' || check === 'ports') && status !== 'ok');
    expect(found.map(({ status, message }) => `${status}: ${message}`)).toEqual([
      'unknown: pid 991 (python3) uses 8192 MiB of GPU 0; whether it is ours cannot be told: /proc does not show process 990, which is there',
      'unknown: port 8188 is held by pid 991; whether it is ours cannot be told: /proc does not show process 990, which is there',
    ]);
  });

  it('asks for no cards, torch or uv where the simulator runs on mock GPUs', () => {
    const found = diagnose(
      facts({ config: aConfig({ comfyui: { repository: 'simulator:' } }), gpus: failed('not asked'), freeBytes: known(2 * 1024 ** 3) }),
    );
    expect(found.filter(({ status }) => status !== 'ok')).toEqual([]);
    expect(found.map(({ check }) => check)).not.toContain('torch');
  });
});

describe('certificates', () => {
  it.each([
    ['the repository answers all the same', { reachable: { ok: true as const, value: 'it answers' } }],
    ['nothing is reached over https', { repositories: [{ label: 'pack x', url: 'file:///srv/x' }], reachable: null }],
  ])('are not missed where %s', (_, change) => {
    expect(diagnose(facts({ certificates: null, ...change })).map(({ check }) => check)).not.toContain('certificates');
  });
});

describe('packages that mend it', () => {
  it('are named for what is missing, not for what fails otherwise', () => {
    const packagesOf = (change: Partial<DoctorFacts>) => diagnose(facts(change)).flatMap(({ debianPackage }) => debianPackage ?? []);
    expect(
      packagesOf({
        programs: { uv: null, ps: null },
        python: failed('no python', 'PYTHON_MISSING'),
        git: failed('no git', 'GIT_MISSING'),
        certificates: null,
        reachable: null,
      }),
    ).toEqual(['procps', 'python3', 'git', 'ca-certificates']);
    expect(packagesOf({ python: failed('it hangs', 'TIMED_OUT'), git: failed('it hangs', 'TIMED_OUT') })).toEqual([]);
  });
});

describe('ssh hosts', () => {
  it.each([
    ['git@github.com:x/y.git', 'github.com'],
    ['ssh://git@host.example/x', 'host.example'],
    ['ssh://git@host.example:2222/x', '[host.example]:2222'],
    ['https://github.com/x', null],
    ['/srv/git/x', null],
  ])('%s is at %s', (url, host) => expect(sshHost(url)).toBe(host));

  it.each([
    ['a.example', 'a.example,10.0.0.1 ssh-rsa AAA', true],
    ['a.example', '*.example ssh-rsa AAA', true],
    ['a.example', '@cert-authority *.example ssh-rsa AAA', true],
    ['a.example', '@revoked a.example ssh-rsa AAA', false],
    ['a.example', '# a.example ssh-rsa AAA', false],
    ['aXexample', 'a.example ssh-rsa AAA', false],
    ['[a.example]:22', '[a.example]:22 ssh-rsa AAA', true],
  ])('%s in "%s": %s', (host, text, expected) => expect(isKnown(host, text)).toBe(expected));
});
