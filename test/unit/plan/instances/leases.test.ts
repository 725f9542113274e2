import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { known, unknown } from '../../../../src/domain/observed.ts';
import { type LeaseInput, planLeases, portInUse, portsOfInterest } from '../../../../src/plan/instances/leases.ts';
import { aConfig, aLease, anInstance, aProcess } from '../../../support/machine/builders.ts';

const input = (change: Partial<LeaseInput> = {}): LeaseInput => ({
  setting: aConfig().ports,
  instances: [anInstance(0), anInstance(1)],
  leases: [],
  holders: known([]),
  ownPids: new Set(),
  running: new Set(),
  ...change,
});
const next = aConfig({ ports: { onConflict: 'next' } }).ports;
const stranger = (tcpPort: number) => ({ tcpPort, pid: 4711, command: 'nginx' });
const leased = (result: ReturnType<typeof planLeases>) =>
  result.actions.map((action) => (action.kind === 'lease-port' ? [action.gpu, action.tcpPort] : []));

describe('portInUse', () => {
  const leases = [aLease(0, 8_300)];
  it.each([
    ['the port a process was started with, whatever its lease says by now', aProcess(0, { tcpPort: 8_188 }), 8_188],
    ['the leased one of a process that does not tell', aProcess(0), 8_300],
    ['the leased one while there is no process', aProcess(0, { tcpPort: 8_188, pid: null }), 8_300],
    ['the leased one of what PM2 does not have', null, 8_300],
  ])('is %s', (_, process, tcpPort) => expect(portInUse(process, 0, leases)).toBe(tcpPort));

  it('is nothing without lease and process', () => expect(portInUse(null, 1, leases)).toBeNull());
});

describe('planLeases', () => {
  it('gives first + n', () =>
    expect(leased(planLeases(input()))).toEqual([
      [0, 8188],
      [1, 8189],
    ]));

  it('keeps what was given', () => {
    const result = planLeases(input({ leases: [aLease(0, 9_999), aLease(1)] }));
    expect(result).toEqual({ actions: [], holds: [], blocked: new Set(), strangers: new Map() });
  });

  it('moves when ports.first changed', () => {
    expect(leased(planLeases(input({ setting: aConfig({ ports: { first: 9000 } }).ports, leases: [aLease(0), aLease(1)] })))).toEqual([
      [0, 9000],
      [1, 9001],
    ]);
  });

  it('names the stranger and holds', () => {
    const result = planLeases(input({ holders: known([stranger(8188)]) }));
    expect(leased(result)).toEqual([[1, 8189]]);
    expect(result.holds[0]?.reason).toBe('port 8188 is held by pid 4711 (nginx)');
    expect(result.strangers).toEqual(new Map([[0, stranger(8188)]]));
    expect(result.blocked).toEqual(new Set([0]));
  });

  it('names no pid where none may be read', () => {
    const result = planLeases(input({ holders: known([{ tcpPort: 8188, pid: null, command: null }]) }));
    expect(result.holds[0]?.reason).toBe('port 8188 is held by a process of another user');
  });

  it('takes the next free port when configured to, also away from a lease', () => {
    expect(leased(planLeases(input({ setting: next, holders: known([stranger(8188)]) })))).toEqual([
      [0, 8190],
      [1, 8189],
    ]);
    expect(
      leased(planLeases(input({ setting: next, leases: [aLease(0), aLease(1)], holders: known([stranger(8188), stranger(8190)]) }))),
    ).toEqual([[0, 8191]]);
  });

  it('says nothing of a stranger on the port of an instance that is to be stopped', () => {
    const stopped = [anInstance(0, { desired: 'stopped' }), anInstance(1)];
    const result = planLeases(input({ instances: stopped, leases: [aLease(0), aLease(1)], holders: known([stranger(8188)]) }));
    expect(result).toEqual({ actions: [], holds: [], blocked: new Set(), strangers: new Map() });
  });

  it('does not take our own process for a stranger', () => {
    const result = planLeases(
      input({
        leases: [aLease(0), aLease(1)],
        holders: known([{ tcpPort: 8188, pid: 1000, command: 'python' }]),
        ownPids: new Set([1000]),
      }),
    );
    expect(result.actions).toEqual([]);
    expect(result.holds).toEqual([]);
  });

  it('leaves a running instance alone whoever answers on its port', () => {
    const result = planLeases(
      input({ setting: next, leases: [aLease(0), aLease(1)], holders: known([stranger(8188)]), running: new Set([0, 1]) }),
    );
    expect(result.actions).toEqual([]);
  });

  it('acts on nothing it could not see', () => {
    expect(leased(planLeases(input({ leases: [aLease(0), aLease(1)], holders: unknown('no /proc') })))).toEqual([]);
  });

  it('refuses ports out of range', () => {
    const result = planLeases(input({ setting: aConfig({ ports: { first: 65_535 } }).ports }));
    expect(leased(result)).toEqual([[0, 65_535]]);
    expect(result.holds[0]).toMatchObject({ code: 'PORT_OUT_OF_RANGE', target: 'instance 1' });
  });

  it('never gives one port twice, and none that a stranger holds', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 8 }),
        fc.uniqueArray(fc.integer({ min: 8180, max: 8210 })),
        fc.boolean(),
        (count, held, isNext) => {
          const result = planLeases(
            input({
              setting: isNext ? next : aConfig().ports,
              instances: Array.from({ length: count }, (_, gpu) => anInstance(gpu)),
              holders: known(held.map(stranger)),
            }),
          );
          const given = leased(result).map(([, tcpPort]) => tcpPort);
          expect(new Set(given).size).toBe(given.length);
          for (const tcpPort of given) expect(held).not.toContain(tcpPort);
          expect(given.length + result.blocked.size).toBe(count);
        },
      ),
    );
  });
});

describe('portsOfInterest', () => {
  it('names leases and first choices once, within range', () => {
    expect(portsOfInterest(aConfig().ports, [0, 1], [aLease(0), aLease(1, 9_000)])).toEqual([8188, 8189, 9_000]);
    expect(portsOfInterest(aConfig({ ports: { first: 65_535 } }).ports, [0, 1], [])).toEqual([65_535]);
  });
});
