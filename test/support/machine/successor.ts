import type { ConfigInput } from '../../../src/domain/configuration/config.ts';
import { aMachine, type Machine } from './machine.ts';
import type { OuterCall } from './wires.ts';

/** The agent is killed at a call, and another one takes over the same machine. */
export async function killedAndReplaced(
  machine: Machine,
  cutAt: (call: OuterCall, index: number) => boolean,
  when: 'before' | 'after',
  provoke: () => Promise<unknown>,
  config: ConfigInput = {},
): Promise<{ readonly successor: Machine; readonly call: OuterCall | null }> {
  const { world } = machine;
  let call: OuterCall | null = null;
  void machine.wires.cutAt(cutAt, when).then((found) => {
    call = found;
  });
  void provoke();
  for (let waited = 0; call === null && waited < 20_000; waited += 50) await world.clock.advance(50);
  machine.wires.cut();
  world.shell.endAll();
  await world.clock.advance(1_000);
  const successor = await aMachine({ world, config });
  await successor.start();
  return { successor, call };
}
