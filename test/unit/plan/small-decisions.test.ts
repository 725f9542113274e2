import { describe, expect, it } from 'vitest';
import { OFFICIAL_COMMIT } from '../../../src/domain/configuration/config.ts';
import { parseImportReport } from '../../../src/domain/installation/import-report.ts';
import { known, unknown } from '../../../src/domain/observed.ts';
import { Intents } from '../../../src/domain/state/state.ts';
import { canonicalJson, digestOf } from '../../../src/domain/text/digest.ts';
import { layoutOf } from '../../../src/plan/configuration/layout.ts';
import { datedHolds, hold } from '../../../src/plan/hold.ts';
import { compareVersions, supportedFlags } from '../../../src/plan/installation/flags.ts';
import { retryDelayMs } from '../../../src/plan/installation/installation.ts';
import { fallbackSource, resolveSource } from '../../../src/plan/installation/source.ts';
import { instanceLaunch } from '../../../src/plan/instances/launch.ts';
import { exitReason, judgeRestarts } from '../../../src/plan/instances/restart-policy.ts';
import { chooseCards, resolve } from '../../../src/plan/resolve.ts';
import { aConfig, aGpu, aReading, NOW } from '../../support/machine/builders.ts';

describe('source', () => {
  const source = (comfyui: object) => resolveSource(aConfig({ comfyui }).comfyui);
  it.each([
    [{}, 'forward', null],
    [{ branch: 'master' }, 'master', null],
    [{ commit: 'abcdef1' }, null, 'abcdef1'],
    [{ repository: 'https://github.com/comfyanonymous/ComfyUI' }, null, OFFICIAL_COMMIT],
    [{ repository: 'https://github.com/Comfy-Org/ComfyUI.git' }, null, OFFICIAL_COMMIT],
    [{ repository: 'git@github.com:Comfy-Org/ComfyUI.git', branch: 'v0.3.64' }, 'v0.3.64', null],
    [{ repository: 'https://example.org/mine.git' }, null, null],
  ])('%o -> branch %s, commit %s', (comfyui, branch, commit) => expect(source(comfyui)).toMatchObject({ branch, commit }));

  it('gives the fallback its own defaults', () => {
    const { comfyui } = aConfig({ comfyui: { branch: 'mine', fallbackRepository: 'https://github.com/comfyanonymous/ComfyUI' } });
    expect(fallbackSource(comfyui)).toMatchObject({ branch: null, commit: OFFICIAL_COMMIT });
    expect(fallbackSource(aConfig().comfyui)).toBeNull();
  });

  it('keeps credentials out of what is recorded', () => {
    expect(source({ repository: 'https://me:secret@example.org/x.git' }).repository).toBe('https://example.org/x.git');
  });
});

describe('cards', () => {
  const setting = (gpu: object) => aConfig({ gpu }).gpu;
  it.each([
    [{ mode: 'mock', mockCount: 3, count: 2 }, 3],
    [{ mode: 'mock', count: 2 }, 2],
    [{ mode: 'mock' }, 1],
    [{ mode: 'cpu', count: 4, mockCount: 9 }, 4],
  ])('%o gives %i without looking at the driver', (gpu, count) => {
    const choice = chooseCards(setting(gpu), unknown('no driver'));
    expect([choice.cards.length, choice.wanted]).toEqual([count, count]);
  });

  it('caps the real ones, and says when fewer were found', () => {
    const reading = known(aReading(aGpu(1), aGpu(0)));
    expect(chooseCards(setting({ mode: 'actual', count: 1 }), reading).cards.map((card) => card.index)).toEqual([0]);
    const fewer = chooseCards(setting({ mode: 'actual', count: 4 }), reading);
    expect([fewer.cards.length, fewer.wanted, fewer.warnings.length]).toEqual([2, 4, 1]);
  });

  it('pins by UUID, by index, and by MIG device', () => {
    const pinned = (gpu: object, card = aGpu(0)) =>
      resolve({ config: aConfig({ gpu }), packs: [], lock: null, gpus: known(aReading(card)), intents: Intents.parse({}), generation: 1 })
        .instances[0];
    expect(pinned({ mode: 'actual' })).toMatchObject({
      visibleDevices: 'GPU-00000000',
      uuid: 'GPU-00000000',
      mode: 'gpu',
      name: 'comfyui-gpu0',
    });
    expect(pinned({ mode: 'actual', pin: 'index' })?.visibleDevices).toBe('0');
    expect(
      pinned(
        { mode: 'actual' },
        aGpu(0, {
          migMode: 'enabled',
          migDevices: [
            { uuid: 'MIG-1', profile: null },
            { uuid: 'MIG-2', profile: null },
          ],
        }),
      )?.visibleDevices,
    ).toBe('MIG-1');
    expect(pinned({ mode: 'mock' })).toMatchObject({ visibleDevices: '', uuid: null, mode: 'cpu' });
  });

  it('a change of port or probe asks for no other installation, a change of branch does', () => {
    const digest = (input: object) =>
      resolve({ config: aConfig(input), packs: [], lock: null, gpus: known(aReading()), intents: Intents.parse({}), generation: 1 })
        .specDigest;
    expect(digest({ ports: { first: 9_000 }, health: { minReady: 0 } })).toBe(digest({}));
    expect(digest({ comfyui: { branch: 'x' } })).not.toBe(digest({}));
  });
});

describe('restart policy', () => {
  const exit = (ago: number, wanted = false) => ({ at: NOW - ago, reason: 'exit code 1', wanted });
  const backOff = { afterExits: 3, initialMs: 10_000, maxMs: 60_000 };
  it('counts within the window, and only what nobody asked for', () => {
    const verdict = judgeRestarts([exit(700_000), exit(10), exit(5, true)], { windowMs: 600_000, maxInWindow: 10, backOff }, NOW);
    expect(verdict).toEqual({
      total: 2,
      inWindow: 1,
      lastReason: 'exit code 1',
      since: NOW - 10,
      quarantine: null,
      backOffUntil: null,
      nextBacksOff: false,
    });
  });
  it('quarantines above the limit', () => {
    const many = Array.from({ length: 4 }, () => exit(1));
    expect(judgeRestarts(many, { windowMs: 1_000, maxInWindow: 4, backOff }, NOW).quarantine).toBeNull();
    expect(judgeRestarts(many, { windowMs: 1_000, maxInWindow: 3, backOff }, NOW).quarantine).toContain('ended 4 times');
  });
  it.each([
    ['the first are followed by a start at once', 3, 0, null],
    ['the next by a pause', 4, 0, 10_000],
    ['which doubles', 5, 0, 20_000],
    ['up to a limit', 9, 0, 60_000],
    ['and is over at its end', 4, 10_000, null],
    ['what came before a recount is not counted', 3, NOW, null],
  ])('%s', (_, count, ago, expected) => {
    const exits = Array.from({ length: count }, () => exit(ago));
    const { backOffUntil } = judgeRestarts(exits, { windowMs: 600_000, maxInWindow: 10, backOff }, NOW);
    expect(backOffUntil === null ? null : backOffUntil - NOW).toBe(expected);
  });
  it.each([
    [0, null, 'exit code 0'],
    [null, 'SIGKILL', 'exit signal SIGKILL'],
    [0, 'SIGSEGV', 'exit signal SIGSEGV'],
    [null, null, 'exit, cause unknown'],
  ])('%s %s -> %s', (code, signal, text) => expect(exitReason(code, signal)).toBe(text));
});

describe('flags', () => {
  it('are read from the tree', () =>
    expect(supportedFlags('parser.add_argument("--port", type=int)\ngroup.add_argument(\n  "--cpu")', '9.9')).toEqual(['--cpu', '--port']));
  it('else follow the version', () => {
    expect(supportedFlags(null, '0.3.12')).not.toContain('--database-url');
    expect(supportedFlags(null, '0.3.64')).toContain('--database-url');
    expect(supportedFlags(null, null)).toContain('--port');
  });
  it.each([
    ['0.3.12', '0.3.9', 1],
    ['0.3.64', '0.3.64', 0],
    ['0.3', '0.3.1', -1],
    ['1.0-rc', '1.0', 0],
  ])('%s against %s', (a, b, sign) => expect(Math.sign(compareVersions(a, b))).toBe(sign));
});

describe('import report', () => {
  it('reads the newest block and the reasons above it', () => {
    const lines = [
      'Import times for custom nodes:',
      '   0.1 seconds: /c/old',
      '',
      'Cannot import /c/bad module for custom nodes: No module named x',
      '',
      'Import times for custom nodes:',
      '   0.0 seconds: /c/good',
      '   0.2 seconds (IMPORT FAILED): /c/bad',
      '',
      'Starting server',
    ];
    expect(parseImportReport(lines)).toEqual({ loaded: ['good'], failed: [{ name: 'bad', error: 'No module named x' }] });
  });
  it('is null without a block', () => expect(parseImportReport(['Starting server'])).toBeNull());
});

describe('others', () => {
  it('digests do not depend on the order of keys', () => {
    expect(canonicalJson({ b: [1, { d: null, c: 'x' }], a: undefined })).toBe('{"b":[1,{"c":"x","d":null}]}');
    expect(digestOf({ a: 1, b: 2 })).toBe(digestOf({ b: 2, a: 1 }));
  });
  it('holds keep the time of their first appearance', () => {
    const first = datedHolds([hold('instance 0', 'DRAINING', 'a', 'h')], [], '2026-01-01T00:00:00.000Z');
    expect(
      datedHolds(
        [hold('instance 0', 'DRAINING', 'changed', 'h'), hold('instance 1', 'DRAINING', 'a', 'h')],
        first,
        '2026-01-02T00:00:00.000Z',
      ).map((each) => each.since),
    ).toEqual(['2026-01-01T00:00:00.000Z', '2026-01-02T00:00:00.000Z']);
  });
  it('retries wait longer and longer, up to a quarter of an hour', () =>
    expect([1, 2, 3, 20].map(retryDelayMs)).toEqual([15_000, 30_000, 60_000, 900_000]));
});

describe('what an instance runs', () => {
  const environmentOf = (constraints: string | null, environment: Record<string, string> = {}, inherited: Record<string, string> = {}) => {
    const config = aConfig({ comfyui: { environment } });
    return instanceLaunch({
      config,
      layout: layoutOf(config),
      instance: { gpu: 0, name: 'comfyui-gpu0', mode: 'cpu', visibleDevices: '' },
      release: { id: 'r1', python: 'venv/bin/python', flags: [], constraints },
      tcpPort: 8188,
      modelPathsFile: '/m.yaml',
      modelPathsDigest: '',
      inherited,
    }).environment;
  };

  it('finds the programs of its environment before those of the machine', () => {
    const first = (inherited: Record<string, string>) => environmentOf(null, {}, inherited)['PATH']?.split(':');
    expect(first({ PATH: '/opt/bin:/usr/bin' })).toEqual([expect.stringMatching(/\/releases\/r1\/venv\/bin$/), '/opt/bin', '/usr/bin']);
    expect(first({})?.[0]).toMatch(/\/releases\/r1\/venv\/bin$/);
  });

  it('may not move the packages of its release, whoever runs pip in it', () => {
    const file = expect.stringMatching(/\/releases\/r1\/constraints\.txt$/) as string;
    expect(environmentOf('constraints.txt')).toMatchObject({
      PIP_CONSTRAINT: file,
      PIP_BUILD_CONSTRAINT: file,
      UV_CONSTRAINT: file,
      UV_BUILD_CONSTRAINT: file,
    });
    expect(environmentOf(null)).not.toHaveProperty('PIP_CONSTRAINT');
    expect(environmentOf('constraints.txt', { PIP_CONSTRAINT: '/mine' })).toMatchObject({ PIP_CONSTRAINT: '/mine', UV_CONSTRAINT: file });
  });
});
