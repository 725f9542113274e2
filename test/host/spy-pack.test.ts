import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CANARIES, NEEDS, SITES, SPIES, type Spy, spyWays } from '../support/git/spy-packs.ts';
import { whyNoSystemd } from '../support/systemd/machine.ts';
import { aSpyMachine, type Findings, type SpyMachine } from '../support/systemd/spy-machine.ts';

/**
 * One node pack tries every way of the border between packs, agent and root from everywhere it runs, on a real systemd with both
 * users, and gets nothing. The ways stand in test/fixtures/ways-pack, what is done with them in test/support/spy-machine.ts.
 */

const why = whyNoSystemd();
if (why !== null) console.log(`skipped: no systemd can be booted here: ${why}`);

const WAYS = spyWays();
const ALL = [...WAYS.refused, ...WAYS.laid];
const PLACES: readonly (readonly [place: string, spies: readonly Spy[], sites: readonly string[]])[] = [
  ['install.py', ['carried', 'cloned'], ['install.py']],
  ['the trial start', ['carried', 'cloned'], ['trial']],
  ['an import', ['carried', 'cloned'], ['import']],
  ['a running node', ['carried', 'cloned'], ['node']],
  ['a registry archive', ['fetched'], SITES],
];
/** By rights of the system, or by an answer that gives nothing. */
const REFUSAL = /^(PermissionError: |OSError: \[Errno 30\]|Refused: (40[013]|413|nothing secret is in it)$)/;
const SPEAK = 'speak to systemd for the agent';
/** What runs in the agent's unit is not let near systemd's socket; an instance is in PM2's. */
const mustBeRefused = (way: string, name: string): boolean => way === SPEAK && /-(install\.py|trial)$/.test(name);
const SECRET = new RegExp(Object.values(CANARIES).join('|'));
const EXPORT_LIMIT_MS = 60_000;
/** Far below the time after which systemd kills. */
const RESTART_LIMIT_MS = 20_000;

/** As a careless user would: with all that the repositories name. */
const TRUSTING = `cd /workspace/current/ComfyUI/custom_nodes; for each in filter fsmonitor hooks; do
rm -f /workspace/shared/outputs/ran-by-64891; cp holds-$each/a.txt holds-$each/b; mv holds-$each/b holds-$each/a.txt
git -c safe.directory=* -C holds-$each status </dev/null >/dev/null 2>&1; git -c safe.directory=* -C holds-$each checkout --force HEAD -- . </dev/null >/dev/null 2>&1
cat /workspace/shared/outputs/ran-by-64891; done`;
const OFFLINE: readonly (readonly string[])[] = [['install', '--verify'], ['install', '--dry-run'], ['doctor'], ['plan'], ['releases']];

let spies: SpyMachine;
let findings: Findings;
const must = (...command: string[]) => spies.machine.must(...command);

const outlived = (): readonly string[] => findings.daemons.filter((name) => !/^cleared-.*-node$/.test(name));

/** What came of what it laid, besides programs that ran: an empty list is what is wanted. */
const OUTCOMES: readonly (readonly [ways: RegExp, got: (names: readonly string[]) => readonly string[]])[] = [
  [/^(require|nest) |in (the )?place of|kept|leads out/, () => findings.leaked],
  [/in place of|kept|leads out/, () => (findings.after === findings.before ? [] : ['a closed place is not as it was'])],
  // One that a node left, and that cleared its environment, ends with PM2's unit: it cannot be told from that of another instance.
  [/^a daemon/, (names) => outlived().filter((name) => names.includes(name.replace('cleared-', '')))],
  [/^speak to systemd/, () => (findings.errnoOfUnit === '0' ? [] : ['systemd took its word for that of the agent'])],
  [/^a line of the log/, () => (findings.exportMs < EXPORT_LIMIT_MS ? [] : [`the export took ${findings.exportMs} ms`])],
];

describe.skipIf(why !== null)('a pack that tries every way', { timeout: 120_000 }, () => {
  beforeAll(async () => {
    spies = await aSpyMachine();
    findings = spies.findings;
  }, 400_000);
  afterAll(() => spies?.close());

  describe.each(PLACES)('from %s', (_place, packs, sites) => {
    const names = packs.flatMap((spy) => sites.map((site) => `${spy}-${site}`));

    it.each(WAYS.refused)('%s', (way) => {
      for (const name of names)
        expect([name, findings.reports.get(name)?.[way]]).toEqual([name, ['refused', expect.stringMatching(REFUSAL)]]);
    });

    it.each(WAYS.laid)('%s', (way) => {
      const traps = names.flatMap((name) => {
        const [result, how] = findings.reports.get(name)?.[way] ?? ['failed', 'it was not tried'];
        // The agent's unit sees PM2's home, and cannot write to it.
        if (!(way.endsWith('PM2') || way.endsWith("PM2's")) || result !== 'refused')
          expect([name, result, how]).toEqual([name, mustBeRefused(way, name) ? 'refused' : 'laid', how]);
        return how.split(' ').map((trap) => `${trap} ${name}`);
      });
      expect(findings.ranAsOthers.filter((line) => traps.includes(line))).toEqual([]);
      for (const [ways, got] of OUTCOMES) if (ways.test(way)) expect(got(names)).toEqual([]);
    });
  });

  it('all of it was tried everywhere', () => {
    expect(ALL.length).toBeGreaterThan(130);
    expect([...findings.reports.keys()].length).toBe(12);
    for (const [name, report] of findings.reports) expect([name, Object.keys(report).sort()]).toEqual([name, [...ALL].sort()]);
  });

  it('nothing that it laid ran as anybody but ComfyUI', () => expect(findings.ranAsOthers).toEqual([]));

  it('no secret was told', () => {
    expect(Object.entries(findings.told).flatMap(([where, text]) => (SECRET.test(text) ? [where] : []))).toEqual([]);
    for (const [where, text] of Object.entries(findings.told)) expect([where, text.length > 10]).toEqual([where, true]);
    expect(findings.leaked).toEqual([]);
  });

  it('each secret is there, for its owner', async () => {
    const places = ['/etc/comfylet/agent.env', '/etc/comfylet/token', '/closed/agent.env', '/etc/shadow'];
    const closed = ['/var/lib/comfylet/precious/note', '/workspace/agent-only/precious/note'];
    const text = await must('cat', ...places, ...closed);
    for (const secret of Object.values(CANARIES)) expect(text).toContain(secret);
    expect(await must('sh', '-c', `tr '\\0' '\\n' </proc/${await spies.machine.mainPid('comfylet')}/environ`)).toContain(
      CANARIES.environment,
    );
  });

  it('closed places are as they were, and nothing of ComfyUI came into them', async () => {
    expect(findings.after).toBe(findings.before);
    const inState = ['find', '/var/lib/comfylet', '/var/lib/comfylet-upgrade', '/workspace/agent-only'];
    expect(await must(...inState, '(', '-name', 'upgrade.json', '-o', '-name', '.kept', '-o', '-user', 'comfyui', ')')).toBe('');
    expect(await must('find', '/workspace', '/var/lib', '-path', '*stolen*')).toBe('');
  });

  it('no program with rights of the agent, or of root, lies where it can be run', async () => {
    expect(await must('find', '/workspace', '/var/lib', '-type', 'f', '-perm', '/6000', '!', '-user', 'comfyui')).toBe('');
  });

  it('root goes back to nothing that it planted', async () => {
    await must('sh', '-c', 'cp -p /usr/local/bin/agent /usr/local/bin/agent.previous');
    for (const args of [[], ['/var/lib/comfylet'], ['/workspace/shared/pack-state/keeps']])
      await spies.machine.run(['/usr/local/bin/agent.previous', '__upgrade-guard', ...args]);
    expect(await must('cat', '/root/victim')).toBe('good\n');
  });

  it('packs that lead elsewhere are named, and the others are installed', async () => {
    const { body } = await spies.machine.get('/health/comfyui/installation');
    const { packs } = body as { readonly packs: readonly { readonly name: string; readonly state: string }[] };
    const failed = packs.filter(({ state }) => state === 'failed').map(({ name }) => name);
    expect(failed.sort()).toEqual(NEEDS.map((name) => `brings-${name}`).sort());
    for (const spy of Object.keys(SPIES)) expect(packs).toContainEqual(expect.objectContaining({ name: spy, state: 'loaded' }));
  });

  it('the agent lived through it, and ended in time', async () => {
    expect(findings.restartMs).toBeLessThan(RESTART_LIMIT_MS);
    expect(await spies.machine.property('comfylet', 'NRestarts')).toBe('0');
    expect(await must('journalctl', '-u', 'comfylet', '-o', 'cat')).not.toMatch(
      /State 'stop-sigterm' timed out|Killing process|asks for another installation/,
    );
  });

  it('it is no idle threat: who trusts what lies there runs it', async () => {
    const { stdout } = await spies.machine.run(['sh', '-c', TRUSTING], { user: 'comfyui' });
    for (const trap of ['filter', 'fsmonitor', 'hooks']) expect(stdout).toContain(`git-${trap} carried-node`);
  });

  it.each(OFFLINE)('without the agent nothing of it runs for whoever types agent %s', async (...words) => {
    await must('systemctl', 'stop', 'comfylet');
    const places = ['AGENT_ROOT=/workspace', 'AGENT_STATE_DIR=/var/lib/comfylet', 'AGENT_RUN_DIR=/run/comfylet'];
    for (const environment of [[], places])
      for (const as of [{}, { user: 'comfylet' }])
        await spies.machine.run(['env', ...environment, 'agent', ...words], { limitMs: 60_000, ...as });
    expect(await must('sh', '-c', 'cd /workspace/shared/outputs; ls -d ran-by-*')).toBe('ran-by-64891\n');
  });
});
