import { describe, expect, it } from 'vitest';
import type { CardCondition, CardFacts, CardProcess } from '../../../../src/domain/cards/card.ts';
import type { Gpu } from '../../../../src/domain/cards/gpu.ts';
import { parseXid, type XidEvent } from '../../../../src/domain/cards/xid.ts';
import { Config } from '../../../../src/domain/configuration/config.ts';
import { Verdict } from '../../../../src/domain/faults/verdict.ts';
import { known, unknown } from '../../../../src/domain/observed.ts';
import { datedConditions } from '../../../../src/plan/cards/conditions.ts';
import { cardFaults, cardTroubles } from '../../../../src/plan/faults/card/card.ts';
import type { CardVerdictFacts } from '../../../../src/plan/faults/card/input.ts';
import { cardMemoryKept } from '../../../../src/plan/faults/card/memory.ts';
import { cardMissing } from '../../../../src/plan/faults/card/missing.ts';
import { cardRecovery } from '../../../../src/plan/faults/card/recovery.ts';
import { cardXid } from '../../../../src/plan/faults/card/xid.ts';
import { cudaUnavailable } from '../../../../src/plan/faults/cuda-unavailable.ts';
import { aGpu, anInstance } from '../../../support/machine/builders.ts';

const NOW = 1_800_000_000_000;
const GIB = 1024 ** 3;
const config = Config.parse({});
const UUID = 'GPU-00000000';

const aProcess = (change: Partial<CardProcess> = {}): CardProcess => ({
  incarnation: '4711@1',
  pid: 4711,
  startedAt: NOW - 3_600_000,
  pids: [4711, 4712],
  visibleDevices: UUID,
  isCurrent: true,
  wrongStarts: change.visibleDevices === undefined ? 0 : 1,
  computesOn: [UUID],
  deviceName: null,
  otherNames: ['NVIDIA Other'],
  ...change,
});

interface Scene {
  readonly gpu?: Partial<Gpu> | 'gone' | 'unknown';
  readonly card?: Partial<CardFacts>;
  readonly facts?: Partial<CardVerdictFacts>;
}

function scene({ gpu = {}, card = {}, facts = {} }: Scene = {}): CardVerdictFacts {
  const base: Omit<CardFacts, 'since'> = {
    uuid: UUID,
    pciBusId: '0000:00:00',
    gpu: gpu === 'unknown' ? unknown('nvidia-smi did not answer') : known(gpu === 'gone' ? null : aGpu(0, gpu)),
    askedAt: NOW - 1_000,
    words: null,
    xids: [],
    process: known(aProcess()),
    freedAt: null,
    ...card,
  };
  const since = { ...datedConditions(base, {}, config), ...card.since };
  return {
    config,
    instance: anInstance(0, { mode: 'gpu', uuid: UUID, visibleDevices: UUID }),
    card: { ...base, since },
    queue: { running: 0, pending: 0 },
    probes: new Map(),
    now: NOW,
    ...facts,
  };
}

const all = (facts: CardVerdictFacts): readonly Verdict[] => [...cardFaults(facts), ...cardTroubles(facts)];

const brief = (verdicts: readonly Verdict[]): string[] =>
  verdicts.map(({ fault, remedy, blocksReady }) => `${fault} ${remedy}${blocksReady ? ' not-ready' : ''}`);

const xid = (code: number, ago: number, rest = ''): XidEvent => {
  const found = parseXid(`NVRM: Xid (PCI:0000:00:00): ${code}, ${rest}`, NOW - ago);
  if (found === null) throw new Error('no xid');
  return found;
};

const proved = (at: number): CardVerdictFacts['probes'] =>
  new Map([
    [
      'canary',
      {
        latest: {
          probe: 'canary',
          layer: 'functional' as const,
          incarnation: '4711@1',
          outcome: 'pass' as const,
          reason: null,
          at,
          durationMs: 10,
        },
        consecutiveFailures: 0,
        everPassed: true,
        consecutivePasses: 1,
        failuresBefore: 0,
        since: at,
      },
    ],
  ]);

const ecc = (change: Partial<Gpu['ecc']>): Gpu['ecc'] => ({
  uncorrectedVolatile: 0,
  uncorrectedAggregate: 0,
  retirementPending: null,
  remapPending: null,
  remapFailed: null,
  ...change,
});
const throttle = (change: Partial<Gpu['throttle']>): Gpu['throttle'] => ({
  hardwareThermal: false,
  softwareThermal: false,
  powerBrake: false,
  powerCap: false,
  ...change,
});
const nothingTold: Partial<Gpu> = {
  temperatureC: null,
  powerDrawWatts: null,
  memoryUsedBytes: null,
  throttle: { hardwareThermal: null, softwareThermal: null, powerBrake: null, powerCap: null },
  ecc: ecc({ uncorrectedVolatile: null, uncorrectedAggregate: null }),
};

const CARD = 'xid quarantine not-ready';
const cases: readonly (readonly [string, Scene, readonly string[]])[] = [
  ['a well card', {}, []],
  ['a card that tells nothing', { gpu: nothingTold }, []],
  ['a driver that does not answer', { gpu: 'unknown' }, []],
  ['no card at all', { facts: { card: null } }, []],
  ['busy at its power limit', { gpu: { utilisationPercent: 100, throttle: throttle({ powerCap: true }), memoryUsedBytes: 23 * GIB } }, []],

  ['gone from the list', { gpu: 'gone' }, ['card-missing quarantine not-ready']],
  ['lost', { gpu: { ...nothingTold, state: 'lost' } }, ['card-missing quarantine not-ready']],
  ['wants a reset', { gpu: { ...nothingTold, state: 'reset-required' } }, [CARD]],
  ['the driver asks for a reset', { gpu: { recoveryAction: 'reset' } }, [CARD]],
  [
    'the driver asks for a reset, for memory',
    { gpu: { recoveryAction: 'reset', ecc: ecc({ uncorrectedVolatile: 2 }) } },
    ['ecc quarantine not-ready'],
  ],
  ['the driver asks that peers let go', { gpu: { recoveryAction: 'drain-peers' } }, []],

  [
    'an error on a card that retires pages',
    { gpu: { ecc: ecc({ uncorrectedVolatile: 1, retirementPending: true }) } },
    ['ecc quarantine not-ready'],
  ],
  ['a page to be retired, long after', { gpu: { ecc: ecc({ retirementPending: true }) } }, ['ecc none']],
  [
    'an error on a card that remaps rows',
    { gpu: { ecc: ecc({ uncorrectedVolatile: 1, remapPending: true, remapFailed: false }) } },
    ['ecc none'],
  ],
  ['an error that the driver calls harmless', { gpu: { recoveryAction: 'none', ecc: ecc({ uncorrectedVolatile: 1 }) } }, ['ecc none']],
  ['no spare rows', { gpu: { ecc: ecc({ remapPending: false, remapFailed: true }) } }, ['ecc quarantine not-ready']],
  ['errors of an earlier life', { gpu: { ecc: ecc({ uncorrectedAggregate: 40 }) } }, []],

  ['too hot', { gpu: { temperatureC: 93, throttle: throttle({ hardwareThermal: true }) } }, ['card-hot none']],
  ['above its working temperature', { gpu: { throttle: throttle({ softwareThermal: true }) } }, ['card-hot none']],
  ['power brake', { gpu: { throttle: throttle({ powerBrake: true }) } }, ['card-power none']],

  ['79, and nobody says more', { card: { xids: [xid(79, 5_000)] } }, [CARD]],
  ['79 of long ago', { card: { xids: [xid(79, 700_000)] } }, []],
  ['79, and the card is gone', { gpu: 'gone', card: { xids: [xid(79, 5_000)] } }, ['card-missing quarantine not-ready', CARD]],
  ['95, the driver asks for a reset', { gpu: { recoveryAction: 'reset' }, card: { xids: [xid(95, 5_000)] } }, [CARD]],
  [
    '119, and the driver says since that nothing is needed',
    { gpu: { recoveryAction: 'none' }, card: { xids: [xid(119, 5_000)] } },
    ['xid restart not-ready'],
  ],
  [
    '119, the driver was not asked since',
    { gpu: { recoveryAction: 'none' }, card: { xids: [xid(119, 500)], askedAt: NOW - 9_000 } },
    [CARD],
  ],
  [
    '119, nothing needed, and a new process',
    { gpu: { recoveryAction: 'none' }, card: { xids: [xid(119, 5_000)], process: known(aProcess({ startedAt: NOW - 4_000 })) } },
    [],
  ],
  [
    '119, nothing needed, and a canary since',
    { gpu: { recoveryAction: 'none' }, card: { xids: [xid(119, 5_000)] }, facts: { probes: proved(NOW - 1_000) } },
    [],
  ],
  [
    '95, then 154 says that nothing is needed',
    { card: { xids: [xid(95, 5_000), xid(154, 4_000, 'GPU recovery action changed from 0x1 (GPU Reset Required) to 0x0 (None)')] } },
    ['xid restart not-ready'],
  ],
  [
    '154 alone asks for a reboot',
    { card: { xids: [xid(154, 4_000, 'GPU recovery action changed from 0x0 (None) to 0x2 (Node Reboot Required)')] } },
    [CARD],
  ],
  ['48 contained', { card: { xids: [xid(48, 5_000), xid(94, 4_900, 'pid=4711, name=python3')] } }, ['xid restart not-ready']],
  ['48 alone', { card: { xids: [xid(48, 5_000)] } }, [CARD]],

  ['31 of our process', { card: { xids: [xid(31, 5_000, 'pid=4711, name=python3')] } }, ['xid restart not-ready']],
  [
    '31 of our process, and a canary since',
    { card: { xids: [xid(31, 5_000, 'pid=4711')] }, facts: { probes: proved(NOW - 1_000) } },
    ['xid none'],
  ],
  ['31 of a child', { card: { xids: [xid(31, 5_000, 'pid=4712')] } }, ['xid none']],
  ['31 of a stranger', { card: { xids: [xid(31, 5_000, 'pid=99')] } }, ['xid none']],
  ['31 of nobody known', { card: { xids: [xid(31, 5_000, "pid='<unknown>'")] } }, ['xid none']],
  ['31 of an earlier process', { card: { xids: [xid(31, 5_000, 'pid=4000')], process: known(aProcess({ startedAt: NOW - 1_000 })) } }, []],
  ['43 of our process', { card: { xids: [xid(43, 5_000, 'pid=4711')] } }, ['xid restart not-ready']],
  ['45 of a process that was killed', { card: { xids: [xid(45, 5_000, 'pid=4000')] } }, []],
  ['a code that nobody knows', { card: { xids: [xid(999, 5_000)] } }, ['xid none']],
  ['63: a row is remapped', { card: { xids: [xid(63, 5_000)] } }, ['xid none']],
  ['63 of long ago', { card: { xids: [xid(63, 700_000)] } }, []],

  ['sees another card', { card: { process: known(aProcess({ visibleDevices: 'GPU-00000001' })) } }, ['wrong-card restart not-ready']],
  [
    'sees another card, whatever is done',
    { card: { process: known(aProcess({ visibleDevices: 'GPU-00000001', wrongStarts: 3 })) } },
    ['wrong-card quarantine not-ready'],
  ],
  ['sees no card', { card: { process: known(aProcess({ visibleDevices: '' })) } }, ['wrong-card restart not-ready']],
  ['was started before an edit', { card: { process: known(aProcess({ visibleDevices: 'GPU-00000001', isCurrent: false })) } }, []],
  ['an environment that cannot be read', { card: { process: known(aProcess({ visibleDevices: null, computesOn: [] })) } }, []],
  [
    'computes on another card',
    { card: { process: known(aProcess({ computesOn: [UUID, 'GPU-00000001'] })) } },
    ['wrong-card quarantine not-ready'],
  ],
  ['names its own card', { card: { process: known(aProcess({ deviceName: 'NVIDIA Test' })) } }, []],
  ['names a part of its card', { card: { process: known(aProcess({ deviceName: 'NVIDIA Test MIG 1g.5gb' })) } }, []],
  ['names another card', { card: { process: known(aProcess({ deviceName: 'NVIDIA Other' })) } }, ['wrong-card quarantine not-ready']],
  ['a process that cannot be seen', { card: { process: unknown('hidden') } }, []],
];

describe('what is said of a card', () => {
  it.each(cases)('%s', (_, input, expected) => {
    const verdicts = all(scene(input));
    expect(brief(verdicts)).toEqual(expected);
    for (const verdict of verdicts) {
      expect(Verdict.parse(verdict)).toEqual(verdict);
      expect(verdict.evidence.length).toBeLessThanOrEqual(50);
      expect(verdict.reason).toMatch(/GPU|pid/);
      expect(verdict.next).toMatch(/\w/);
    }
  });

  it('a card that one answer leaves out is not ready at once, and quarantined when a second does', () => {
    const [verdict] = cardMissing(scene({ gpu: 'gone', card: { since: { gone: NOW - 4_000 }, words: 'Unable to determine …' } }));
    expect(verdict).toMatchObject({ since: new Date(NOW - 4_000).toISOString(), dueAt: new Date(NOW + 11_000).toISOString() });
    expect(verdict?.evidence).toEqual(['nvidia-smi: Unable to determine …']);
  });

  it('a grave Xid waits for the word of a driver that has one, and for no other', () => {
    const due = (gpu: Partial<Gpu>): string | null | undefined =>
      cardXid(scene({ gpu, card: { xids: [xid(95, 500)], askedAt: NOW - 9_000 } }))[0]?.dueAt;
    expect(due({ recoveryAction: 'none' })).toBe(new Date(NOW + 14_500).toISOString());
    expect(due({ recoveryAction: null })).toBeNull();
  });

  it('names what a reset needs', () => {
    expect(cardRecovery(scene({ gpu: { recoveryAction: 'reset' } }))[0]?.next).toContain(`nvidia-smi -r -i ${UUID}`);
  });
});

describe('memory that is not given back', () => {
  const full = { memoryUsedBytes: 20 * GIB };
  const held = (pid: number, name: string | null = 'python3'): Partial<Gpu> => ({
    ...full,
    processes: [{ pid, name, memoryBytes: 20 * GIB, type: 'compute', migDevice: null }],
  });
  const stands = (condition: CardCondition, ago: number): CardFacts['since'] => ({ [condition]: NOW - ago });

  it.each<readonly [string, Scene, readonly string[]]>([
    [
      'after the end of the process',
      { gpu: full, card: { process: known(null), since: stands('kept-after-end', 20_000) } },
      ['card-memory-kept none'],
    ],
    ['just after its end', { gpu: full, card: { process: known(null) } }, []],
    ['by a stranger', { gpu: held(99), card: { process: known(null) } }, []],
    ['by somebody of another world', { gpu: held(99, null), card: { process: known(null) } }, []],
    ['by whom cannot be told', { gpu: full, card: { process: unknown('hidden') } }, []],
    ['a little', { gpu: { memoryUsedBytes: GIB }, card: { process: known(null) } }, []],
    ['between jobs, by design', { gpu: held(4711) }, []],
    [
      'after /free',
      { gpu: held(4711), card: { freedAt: NOW - 30_000, since: stands('kept-after-free', 20_000) } },
      ['card-memory-kept restart-when-idle'],
    ],
    [
      'after /free, with a job again',
      {
        gpu: held(4711),
        card: { freedAt: NOW - 30_000, since: stands('kept-after-free', 20_000) },
        facts: { queue: { running: 1, pending: 0 } },
      },
      [],
    ],
    ['after /free, not read since', { gpu: held(4711), card: { freedAt: NOW - 500, askedAt: NOW - 9_000 } }, []],
    ['after a /free of the process before', { gpu: held(4711), card: { freedAt: NOW - 7_200_000 } }, []],
  ])('%s', (_, input, expected) => {
    expect(brief(cardMemoryKept(scene(input)))).toEqual(expected);
  });
});

describe('datedConditions', () => {
  const card = (change: Scene): Omit<CardFacts, 'since'> => scene(change).card as CardFacts;

  it('keeps the first time while a condition stands, and forgets it when it ends', () => {
    const hot = card({ gpu: { throttle: throttle({ hardwareThermal: true }) } });
    expect(datedConditions(hot, { hot: 5, ecc: 5 }, config)).toEqual({ hot: 5 });
    expect(datedConditions(hot, {}, config)).toEqual({ hot: NOW - 1_000 });
    expect(datedConditions(card({}), { hot: 5 }, config)).toEqual({});
  });

  it('keeps all while nothing can be seen', () => {
    expect(datedConditions(card({ gpu: 'unknown' }), { hot: 5 }, config)).toEqual({ hot: 5 });
  });
});

describe('CUDA that no instance can use', () => {
  const late = { words: 'Error 802: system not yet initialized', at: NOW };
  const mismatch = { words: 'nvidia-smi: Driver/library version mismatch', at: NOW - 1_000 };
  const other = { words: 'RuntimeError: something else', at: NOW };
  it.each([
    ['nothing failed', [null, null], null],
    ['no instance', [], null],
    ['one of two serves', [late, null], null],
    ['one of two says something else', [late, other], null],
    ['two causes', [late, mismatch], null],
    ['the only one', [late], 'nvidia-fabricmanager'],
    ['all of them', [late, { ...late, at: NOW - 5_000 }], 'nvidia-fabricmanager'],
    ['all of them, other libraries', [mismatch, mismatch], 'reboot'],
  ])('%s', (_, failures, remedy) => {
    const verdicts = cudaUnavailable({ failures });
    expect(verdicts).toHaveLength(remedy === null ? 0 : 1);
    for (const verdict of verdicts) {
      expect(Verdict.parse(verdict).next).toContain(remedy);
      expect(Date.parse(verdict.since)).toBe(Math.min(...failures.map((failure) => failure?.at ?? NOW)));
    }
  });
});
