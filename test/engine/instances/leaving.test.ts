import { afterEach, describe, expect, it } from 'vitest';
import { aReadyMachine, type Machine } from '../../support/machine/machine.ts';
import { urlOf } from '../../support/machine/world.ts';

let machine: Machine;
afterEach(() => machine.stop());
const server = () => machine.world.comfy.serve(urlOf(8188));

describe('an instance that is about to leave', () => {
  it('by restart --drain takes no new jobs while it waits', async () => {
    machine = await aReadyMachine({ config: { health: { drainTimeoutMs: 60_000 } } });
    server().running.push('a job');
    await machine.advance(6_000);
    await machine.core.agent.startOperation({ kind: 'restart', gpus: [0], drain: true });
    await machine.advance(5_000);
    expect(machine.instance(0)).toMatchObject({ ready: false });
  });

  it('by restart --drain does not believe a queue that was read before the wish', async () => {
    machine = await aReadyMachine({ config: { health: { drainTimeoutMs: 60_000 } } });
    await machine.advance(10_000);
    const { pid } = machine.instance(0);
    server().running.push('came after the last reading');
    await machine.core.agent.startOperation({ kind: 'restart', gpus: [0], drain: true });
    await machine.advance(1_000);
    expect(machine.instance(0).pid).toBe(pid);
  });

  it('because its settings changed does not believe an old queue either', async () => {
    machine = await aReadyMachine();
    await machine.advance(10_000);
    const { pid } = machine.instance(0);
    server().running.push('came after the last reading');
    const { knowledge } = machine.core;
    const { config } = knowledge.configuration;
    knowledge.configuration = {
      ...knowledge.configuration,
      config: { ...config, comfyui: { ...config.comfyui, environment: { A: 'b' } } },
      generation: 2,
    };
    await machine.step();
    await machine.advance(500);
    expect(machine.instance(0).pid).toBe(pid);
  });
});
