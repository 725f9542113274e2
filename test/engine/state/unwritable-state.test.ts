import { afterEach, describe, expect, it } from 'vitest';
import { AgentError } from '../../../src/domain/errors/errors.ts';
import type { OperationRequest } from '../../../src/domain/operation.ts';
import { Intents } from '../../../src/domain/state/state.ts';
import { aMachine, aReadyMachine, type Machine } from '../../support/machine/machine.ts';
import { killedAndReplaced } from '../../support/machine/successor.ts';

let machine: Machine;
afterEach(() => machine.stop());

const INTENTS = '/workspace/state/intents.json';
const LEASES = '/workspace/state/leases.json';
const full = (path = INTENTS) => new AgentError('DISK_FULL', `${path} could not be written: the disk is full`);
const pids = () => [0, 1].map((gpu) => machine.world.running().get(`comfyui-gpu${gpu}`)?.pid ?? null);
const written = async () => Intents.parse(JSON.parse((await machine.world.files.readText(INTENTS)) ?? '{}'));
const notRemembered = () => machine.core.documents().health.holds.filter(({ code }) => code === 'NOT_REMEMBERED');

describe('a verb whose wish cannot be saved does nothing', () => {
  const verbs: readonly OperationRequest[] = [
    { kind: 'restart', gpus: [0] },
    { kind: 'restart', gpus: [0], drain: true },
    { kind: 'stop' },
    { kind: 'drain', gpus: [0, 1] },
  ];
  for (const request of verbs)
    it(JSON.stringify(request), async () => {
      machine = await aReadyMachine();
      const before = pids();
      machine.wires.fail('files.writeText', full(), INTENTS);
      const operation = await machine.finished(await machine.core.agent.startOperation(request));
      expect(operation).toMatchObject({ state: 'failed', error: { code: 'DISK_FULL' } });
      await machine.advance(60_000);
      expect(pids()).toEqual(before);
      expect(machine.isReady()).toBe(true);
    });

  it('start of a quarantined instance: it stays, and what ended before still counts', async () => {
    machine = await aReadyMachine({ config: { health: { maxRestartsInWindow: 3, quarantine: { coolDownMs: null } } } });
    for (let crashes = 0; crashes < 4; crashes++) {
      machine.world.pm2.exit('comfyui-gpu0');
      await machine.advance(300);
    }
    await machine.until('it is quarantined', () => machine.instance(0).status === 'quarantined', 5_000);
    machine.wires.fail('files.writeText', full(), INTENTS);
    const { restarts } = machine.instance(0);
    const operation = await machine.finished(await machine.core.agent.startOperation({ kind: 'start', gpus: [0] }));
    expect(operation).toMatchObject({ state: 'failed', error: { code: 'DISK_FULL' } });
    await expect(machine.core.agent.patchInstance('0', { quarantined: false })).rejects.toMatchObject({ code: 'DISK_FULL' });
    await machine.advance(5_000);
    expect(machine.instance(0)).toMatchObject({ status: 'quarantined', restarts, pid: null });
  });

  it('a change of one instance, and nobody who waits for the opposite is sent away', async () => {
    machine = await aReadyMachine();
    machine.world.boot = 'silent';
    const starting = await machine.core.agent.startOperation({ kind: 'restart', gpus: [0] });
    await machine.advance(1_000);
    const mend = machine.wires.fail('files.writeText', full(), INTENTS);
    for (const patch of [{ cordoned: true }, { desired: 'stopped' as const }, { drain: true }])
      await expect(machine.core.agent.patchInstance('0', patch)).rejects.toMatchObject({ code: 'DISK_FULL' });
    await machine.advance(5_000);
    expect(machine.core.operations.get(starting.id).state).toBe('running');
    expect(machine.instance(0)).toMatchObject({ cordoned: false, status: 'starting' });
    mend();
  });

  it('install and rollback', async () => {
    machine = await aReadyMachine();
    const current = await machine.world.files.readLink('/workspace/current');
    const mend = machine.wires.fail('files.writeText', full(), INTENTS);
    await expect(machine.core.agent.startOperation({ kind: 'reinstall' })).rejects.toMatchObject({ code: 'DISK_FULL' });
    await machine.advance(60_000);
    expect(machine.core.knowledge.intents.installation).toBeNull();
    mend();
    await machine.finished(await machine.core.agent.startOperation({ kind: 'reinstall' }));
    await machine.until('moved', () => machine.core.knowledge.intents.rollout === null && machine.isReady());
    const second = await machine.world.files.readLink('/workspace/current');
    expect(second).not.toBe(current);
    const before = pids();
    machine.wires.fail('files.writeText', full(), INTENTS);
    await expect(machine.core.agent.startOperation({ kind: 'rollback' })).rejects.toMatchObject({ code: 'DISK_FULL' });
    await machine.advance(60_000);
    expect(await machine.world.files.readLink('/workspace/current')).toBe(second);
    expect(pids()).toEqual(before);
  });

  it('and what was done is what the next agent finds', async () => {
    machine = await aReadyMachine();
    await machine.finished(await machine.core.agent.startOperation({ kind: 'stop', gpus: [1] }));
    machine.wires.fail('files.writeText', full(), INTENTS);
    await machine.finished(await machine.core.agent.startOperation({ kind: 'start', gpus: [1] }));
    await machine.stop();
    machine = await aMachine({ world: machine.world });
    await machine.start();
    await machine.advance(20_000);
    expect(machine.instance(1).status).toBe('stopped');
    expect(machine.instance(0).ready).toBe(true);
  });
});

describe('changes at the same time', () => {
  it('do not lose each other while the first is still being written', async () => {
    machine = await aReadyMachine();
    const held = machine.wires.hold('files.writeText', INTENTS);
    const patches = [
      machine.core.agent.patchInstance('0', { cordoned: true }),
      machine.core.agent.patchInstance('1', { cordoned: true }),
      machine.core.agent.patchInstance('1', { drain: true }),
    ];
    await machine.advance(500);
    // Not before it is written.
    expect(machine.instance(0).cordoned).toBe(false);
    held.open();
    await Promise.all(patches);
    const wanted = { '0': { cordoned: true, draining: false }, '1': { cordoned: true, draining: true } };
    expect(machine.core.knowledge.intents.instances).toMatchObject(wanted);
    expect((await written()).instances).toMatchObject(wanted);
  });

  it('one that cannot be written takes no other with it', async () => {
    machine = await aReadyMachine();
    const mend = machine.wires.fail('files.writeText', full(), INTENTS);
    const lost = machine.core.agent.patchInstance('0', { cordoned: true });
    await expect(lost).rejects.toMatchObject({ code: 'DISK_FULL' });
    mend();
    await machine.core.agent.patchInstance('1', { cordoned: true });
    expect((await written()).instances).toMatchObject({ '1': { cordoned: true } });
    expect((await written()).instances['0']?.cordoned ?? false).toBe(false);
  });

  it('a jump of the clock during a write is in both', async () => {
    machine = await aReadyMachine();
    const held = machine.wires.hold('files.writeText', INTENTS);
    machine.world.boot = 'silent';
    await machine.core.agent.startOperation({ kind: 'restart', gpus: [0] });
    const cordon = machine.core.agent.patchInstance('1', { cordoned: true });
    await machine.advance(100);
    machine.world.clock.jump(3_600_000);
    await machine.advance(100);
    held.open();
    await cordon;
    await machine.advance(2_500);
    expect(machine.core.knowledge.intents.instances).toMatchObject({ '1': { cordoned: true } });
    expect(await written()).toEqual(machine.core.knowledge.intents);
  });
});

describe('what is right to do although it cannot be remembered', () => {
  it('ports: instances come up, and it is told until it is written', async () => {
    machine = await aMachine();
    const mend = machine.wires.fail('files.writeText', full(LEASES), LEASES);
    await machine.start();
    await machine.until('both serve', () => machine.instance(0).ready && machine.instance(1).ready);
    expect(notRemembered()).toMatchObject([
      {
        target: 'agent',
        reason: expect.stringMatching(/^done, but not remembered: the port(s)? of instance.*; .*the disk is full$/) as string,
        help: expect.stringContaining('free space') as string,
      },
    ]);
    expect(machine.core.documents().health.reasons.join()).toContain('done, but not remembered');
    expect(machine.journal('state.unsaved').length).toBeGreaterThan(0);
    expect(machine.journal('action.failed')).toEqual([]);
    mend();
    await machine.advance(5_000);
    expect(notRemembered()).toEqual([]);
    expect(machine.journal('state.saved')).toHaveLength(1);
    expect(await machine.world.files.readText(LEASES)).toContain('8189');
  });

  it('a quarantine stops what crashes', async () => {
    machine = await aReadyMachine({ config: { health: { maxRestartsInWindow: 3 } } });
    const mend = machine.wires.fail('files.writeText', full(), INTENTS);
    for (let crashes = 0; crashes < 4; crashes++) {
      machine.world.pm2.exit('comfyui-gpu0');
      await machine.advance(300);
    }
    await machine.until('it is quarantined', () => machine.instance(0).status === 'quarantined', 5_000);
    await machine.advance(5_000);
    expect(machine.instance(0).pid).toBeNull();
    expect(notRemembered()[0]?.reason).toContain('the quarantine of instance 0');
    // Told once, however often it is tried.
    expect(machine.journal('state.unsaved')).toHaveLength(1);
    mend();
    await machine.advance(5_000);
    expect(notRemembered()).toEqual([]);
    expect((await written()).instances['0']?.quarantined).not.toBeNull();
  });

  it('the end of an installation: the answer of the command says so', async () => {
    machine = await aReadyMachine();
    const operation = await machine.core.agent.startOperation({ kind: 'install' });
    machine.wires.fail('files.writeText', full(), INTENTS);
    const ended = await machine.finished(operation);
    expect(ended).toMatchObject({ state: 'succeeded', message: expect.stringContaining('done, but not remembered') as string });
    expect(machine.core.knowledge.intents.installation).toBeNull();
  });
});

describe('an agent that is killed while it writes a wish', () => {
  for (const when of ['before', 'after'] as const)
    it(`${when} the write: the next one does what is written, no more and no less`, async () => {
      machine = await aReadyMachine();
      const { successor } = await killedAndReplaced(
        machine,
        (call) => call.name === 'files.writeText' && call.subject === INTENTS,
        when,
        async () => void machine.core.agent.startOperation({ kind: 'stop', gpus: [1] }),
      );
      machine = successor;
      await machine.advance(20_000);
      expect(machine.instance(1).status).toBe(when === 'after' ? 'stopped' : 'healthy');
    });
});
