import { describe, expect, it } from 'vitest';
import type { ConfigInput } from '../../../src/domain/configuration/config.ts';
import { AgentError } from '../../../src/domain/errors/errors.ts';
import { aMachine, aReadyMachine, type Machine } from '../../support/machine/machine.ts';
import { killedAndReplaced } from '../../support/machine/successor.ts';
import type { OuterCall } from '../../support/machine/wires.ts';

describe('an installation that an operator asked for', () => {
  const cutInPacks = (call: OuterCall) => call.name === 'python.create';
  const current = ({ world }: Machine) => world.files.readLink('/workspace/current');

  it('with --clean, cut by the end of the agent: the next one goes on with it, caches dropped, once', async () => {
    const machine = await aReadyMachine();
    const before = await current(machine);
    const { successor } = await killedAndReplaced(machine, cutInPacks, 'before', () =>
      machine.core.agent.startOperation({ kind: 'reinstall', clean: true }),
    );
    const operation = successor.core.operations.running('installation');
    expect(operation).toMatchObject({ kind: 'reinstall' });
    await successor.until('it is over', () => successor.core.operations.running('installation') === null);
    expect(successor.wires.changes).toContainEqual({ name: 'files.remove', subject: '/workspace/cache' });
    expect(await current(successor)).not.toBe(before);
    await successor.advance(60_000);
    expect(successor.journal('install.done')).toHaveLength(2);
    await successor.stop();
    const third = await aMachine({ world: successor.world });
    await third.start();
    await third.advance(10_000);
    expect(third.journal('install.begin')).toHaveLength(3);
    await third.stop();
  });

  it('for a changed configuration, which is held otherwise, is finished by the next agent', async () => {
    const machine = await aReadyMachine();
    await machine.stop();
    const config: ConfigInput = { packs: { customScripts: false } };
    const changed = await aMachine({ world: machine.world, config });
    await changed.start();
    await changed.advance(5_000);
    expect(changed.core.documents().health.holds).toMatchObject([{ code: 'INSTALLATION_DIFFERS' }]);
    const before = await current(changed);
    const { successor } = await killedAndReplaced(
      changed,
      cutInPacks,
      'before',
      () => changed.core.agent.startOperation({ kind: 'install' }),
      config,
    );
    await successor.until('it is over', () => successor.journal('install.done').length === 2);
    await successor.until('nothing is held', successor.isReady);
    expect(await current(successor)).not.toBe(before);
    await successor.stop();
  });

  it('is written down at once', async () => {
    const machine = await aReadyMachine();
    machine.wires.hold('python.create');
    const { id } = await machine.core.agent.startOperation({ kind: 'reinstall' });
    await machine.advance(1_000);
    expect(machine.core.operations.get(id).state).toBe('running');
    const saved = JSON.parse((await machine.world.files.readText('/workspace/state/intents.json')) ?? '{}') as object;
    expect(saved).toMatchObject({ installation: { fresh: true, clean: false } });
    machine.wires.cut();
    const successor = await aMachine({ world: machine.world });
    await successor.start();
    await successor.until('it is over', () => successor.journal('install.done').length === 2);
    await successor.stop();
  });

  it('and that failed was told, and is not tried again by anybody', async () => {
    const machine = await aReadyMachine();
    const heal = machine.wires.fail('python.create', new AgentError('ENVIRONMENT_FAILED', 'no route to the index'));
    const operation = await machine.finished(await machine.core.agent.startOperation({ kind: 'reinstall' }));
    expect(operation).toMatchObject({ state: 'failed', message: 'no route to the index' });
    heal();
    await machine.advance(60_000);
    await machine.stop();
    const successor = await aMachine({ world: machine.world });
    await successor.start();
    await successor.advance(60_000);
    expect(successor.journal('install.begin')).toHaveLength(2);
    expect(successor.isReady()).toBe(true);
    await successor.stop();
  });

  it('and that cannot be written down is refused, and not begun', async () => {
    const machine = await aReadyMachine();
    machine.wires.fail('files.writeText', new AgentError('DISK_FULL', 'the disk is full'), '/workspace/state/intents.json');
    await expect(machine.core.agent.startOperation({ kind: 'reinstall' })).rejects.toMatchObject({ code: 'DISK_FULL' });
    await machine.advance(60_000);
    expect(machine.journal('install.begin')).toHaveLength(1);
    await machine.stop();
  });
});
