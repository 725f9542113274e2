import { afterEach, describe, expect, it } from 'vitest';
import type { InstanceDocument } from '../../../src/domain/instances/instance.ts';
import { aReadyMachine, type Machine } from '../../support/machine/machine.ts';

let machine: Machine;
afterEach(() => machine.stop());

const LOG = '/workspace/logs/comfyui-gpu0.log';
const SECRET = 'hf_abcdefghijklmnop';
const says = (...lines: readonly string[]) => machine.world.files.put(LOG, `${lines.join('\n')}\n`);
const texts = ({ hold, layers, verdicts, restarts }: InstanceDocument): readonly string[] =>
  [
    hold,
    layers.runtime.reason,
    layers.functional.reason,
    restarts.lastReason,
    ...verdicts.flatMap(({ reason, next }) => [reason, next]),
  ].filter((text) => text !== null);

describe('an instance that ends by itself', () => {
  it('is told with the line that tells why: row, verdict, journal, hold', async () => {
    machine = await aReadyMachine({ config: { health: { maxRestartsInWindow: 2, backOff: { afterExits: 1 } } } });
    says('Traceback (most recent call last):', '  File "nodes.py", line 3', 'RuntimeError: no kernel image is available', 'Stopped server');
    const why = 'exit code 1 (last line: RuntimeError: no kernel image is available)';
    machine.world.pm2.exit('comfyui-gpu0', { exitCode: 1 });
    await machine.advance(50);
    expect(machine.instance(0).restarts.lastReason).toBe(why);
    expect(machine.journal('instance.exit').at(-1)?.message).toBe(`ended by itself: ${why}`);
    expect(
      machine
        .instance(0)
        .verdicts.map(({ reason }) => reason)
        .join(),
    ).toContain(`ended by itself: ${why}`);
    expect(machine.instance(0).layers.runtime.reason).toContain(why);
    for (let more = 0; more < 2; more++) {
      await machine.until('it runs again', () => machine.instance(0).pid !== null);
      machine.world.pm2.exit('comfyui-gpu0', { exitCode: 1 });
      await machine.advance(300);
    }
    await machine.until('it is quarantined', () => machine.instance(0).status === 'quarantined', 10_000);
    await machine.until('and held', () => machine.instance(0).hold !== null, 10_000);
    expect(machine.instance(0).hold).toContain(why);
  });

  it('without a secret of the configuration in any of it', async () => {
    machine = await aReadyMachine({ environment: { HF_TOKEN: SECRET } });
    says('Traceback (most recent call last):', `ValueError: cannot log in with ${SECRET} at https://u:pass1234@example.org/x`);
    machine.world.pm2.exit('comfyui-gpu0', { exitCode: 1 });
    await machine.advance(50);
    expect(machine.instance(0).restarts.lastReason).toContain('(last line: ValueError: cannot log in with ***');
    const told = JSON.stringify([machine.core.documents(), machine.world.journal.entries]);
    expect(told).not.toContain(SECRET);
    expect(told).not.toContain('pass1234');
  });

  it('and waits for its next start: no sentence says that it is on its way up, or that another starts it', async () => {
    machine = await aReadyMachine({ config: { health: { maxRestartsInWindow: 20, backOff: { afterExits: 1, initialMs: 20_000 } } } });
    machine.world.boot = 'silent';
    let paused = 0;
    for (let crashes = 0; crashes < 4; crashes++) {
      // PM2 has started it by the time it is stopped, and a stop takes its time.
      const slow = machine.wires.hold('processes.stop', 'comfyui-gpu0');
      machine.world.pm2.exit('comfyui-gpu0', { exitCode: 1 });
      for (let step = 0; step < 100; step++) {
        await machine.advance(50);
        if (step === 50) slow.open();
        const said = texts(machine.instance(0));
        if (!said.some((text) => text.includes('it is started again at'))) continue;
        paused += 1;
        expect(said.filter((text) => /starting for|is being started|PM2 starts it again/.test(text))).toEqual([]);
        expect(machine.instance(0).status).toBe('unhealthy');
      }
      await machine.until('it is started again', () => machine.instance(0).pid !== null, 200_000);
    }
    expect(paused).toBeGreaterThan(50);
  });
});
