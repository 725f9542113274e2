import { afterEach, describe, expect, it } from 'vitest';
import { launchesOf } from '../../../src/engine/instances/launches.ts';
import type { Knowledge } from '../../../src/engine/knowledge.ts';
import { aGpu } from '../../support/machine/builders.ts';
import { aReadyMachine, type Machine } from '../../support/machine/machine.ts';
import { createWorld } from '../../support/machine/world.ts';

/** What an instance should run is known once all that belongs to it was looked at: until then none seems to run with other settings. */

let machine: Machine;
afterEach(() => machine.stop());

async function withCards(cpuAffinity: 'auto' | 'off'): Promise<Knowledge> {
  const world = await createWorld({ gpus: [aGpu(0), aGpu(1)] });
  machine = await aReadyMachine({ world, config: { gpu: { mode: 'actual' }, instances: { cpuAffinity } } });
  return (machine.core as { readonly knowledge: Knowledge }).knowledge;
}

describe('launches', () => {
  it('are those of all instances when all is known', async () => {
    expect([...launchesOf(await withCards('auto'), {}).keys()]).toEqual([0, 1]);
  });

  it('are none while the file of model paths was not made', async () => {
    const knowledge = await withCards('off');
    expect(launchesOf({ ...knowledge, modelPathsDigest: null }, {}).size).toBe(0);
  });

  it('are not those of a card whose CPUs were not asked for, where they count', async () => {
    const uuid = aGpu(1).uuid;
    const knowledge = await withCards('auto');
    knowledge.cpuLists.delete(uuid);
    expect([...launchesOf(knowledge, {}).keys()]).toEqual([0]);
    knowledge.cpuLists.set(uuid, null);
    expect([...launchesOf(knowledge, {}).keys()]).toEqual([0, 1]);
  });
});
