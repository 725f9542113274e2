import { afterEach, describe, expect, it } from 'vitest';
import type { ConfigInput } from '../../../src/domain/configuration/config.ts';
import { aMachine, aReadyMachine, type Machine } from '../../support/machine/machine.ts';
import { killedAndReplaced } from '../../support/machine/successor.ts';
import type { OuterCall } from '../../support/machine/wires.ts';

let machine: Machine;
afterEach(() => machine.stop());
const current = ({ world }: Machine) => world.files.readLink('/workspace/current');
const environments = ({ wires }: Machine) => wires.changes.filter(({ name }) => name === 'python.create').length;
const install = async (config: ConfigInput): Promise<string | null> => {
  const { world } = machine;
  await machine.stop();
  machine = await aMachine({ world, config });
  await machine.start();
  const operation = await machine.finished(await machine.core.agent.startOperation({ kind: 'install' }), 120_000);
  expect(operation.state).toBe('succeeded');
  await machine.until('it is ready', machine.isReady, 60_000);
  return current(machine);
};

const OTHER: ConfigInput = { packs: { customScripts: false } };
const LOCK = '/workspace/agent.lock.json';

/** release.json is written, the wish to switch to it is not. */
function betweenReleaseAndSwitch(): (call: OuterCall) => boolean {
  let isWritten = false;
  return ({ name, subject }) => {
    const isSwitch = isWritten && name === 'files.writeText' && subject.includes('intents.json');
    isWritten ||= name === 'files.writeText' && subject.endsWith('/release.json');
    return isSwitch;
  };
}

describe('a release that is finished and not in use', () => {
  it('is switched to when configuration and lock ask for it again: nothing is built', async () => {
    machine = await aReadyMachine();
    const first = await current(machine);
    const lock = (await machine.world.files.readText(LOCK)) ?? '';
    const second = await install(OTHER);
    expect(second).not.toBe(first);
    expect(environments(machine)).toBe(1);
    machine.world.files.put(LOCK, lock);
    expect(await install({})).toBe(first);
    expect(environments(machine)).toBe(0);
    expect(machine.journal('install.switched')).toHaveLength(1);
    expect(machine.instance(0).release).toBe(first?.split('/').at(-1));
  });

  it('is built anew when it was refused, and when a new one is asked for', async () => {
    machine = await aReadyMachine();
    const first = await current(machine);
    const lock = (await machine.world.files.readText(LOCK)) ?? '';
    await install(OTHER);
    machine.world.files.put(LOCK, lock);
    machine.world.files.put(
      `${first?.replace('/releases/', '/agent-only/releases/')}/rejected.json`,
      '{"at":"2026-01-01T00:00:00.000Z","reason":"x","code":"ROLLOUT_FAILED"}',
    );
    expect(await install({})).not.toBe(first);
    expect(environments(machine)).toBe(1);
    await machine.advance(1_000);
    await machine.finished(await machine.core.agent.startOperation({ kind: 'reinstall' }), 120_000);
    expect(environments(machine)).toBe(2);
  });

  it('is what an agent left that was killed before the switch', async () => {
    const before = await aReadyMachine();
    await before.advance(1_000);
    const first = await current(before);
    const { successor } = await killedAndReplaced(before, betweenReleaseAndSwitch(), 'before', () =>
      before.core.agent.startOperation({ kind: 'reinstall' }),
    );
    machine = successor;
    await successor.until('it is in use', () => successor.journal('install.switched').length === 1, 60_000);
    await successor.until('it is ready', successor.isReady, 60_000);
    expect(await current(successor)).not.toBe(first);
    expect(environments(successor)).toBe(0);
    expect(await successor.world.files.list('/workspace/releases')).toHaveLength(2);
  });

  it('is what was left on an empty machine', async () => {
    const empty = await aMachine();
    const { successor } = await killedAndReplaced(empty, betweenReleaseAndSwitch(), 'before', () => empty.start());
    machine = successor;
    await successor.until('it is ready', successor.isReady, 60_000);
    expect(environments(successor)).toBe(0);
  });
});
