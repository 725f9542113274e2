import { describe, expect, it } from 'vitest';
import { CHILD_MARK, endLeftChildren } from '../../../src/engine/instances/left-children.ts';
import { createFakeLogger } from '../../fakes/logger.ts';
import { createWorld } from '../../support/machine/world.ts';

const ROOT = '/workspace';
const LAYOUT = { root: ROOT, cache: `${ROOT}/cache` };

describe('what an agent that was killed has left', () => {
  it('is asked to end and, if it is deaf, made to; others stay', async () => {
    const world = await createWorld();
    const { kernel } = world;
    kernel.add({ pid: 100, environment: { [CHILD_MARK]: ROOT } });
    kernel.add({ pid: 101, environment: { [CHILD_MARK]: ROOT }, deafToTerm: true });
    kernel.add({ pid: 102, environment: { [CHILD_MARK]: '/elsewhere' } });
    kernel.add({ pid: 103, environment: { AGENT_ROOT: ROOT } });
    world.files.put(`${LAYOUT.cache}/tmp/python-1/pins.txt`, '');
    const ended = endLeftChildren(world.ports(), LAYOUT, createFakeLogger());
    await world.clock.advance(3_000);
    await ended;
    expect(kernel.signals).toEqual(['SIGTERM 100', 'SIGTERM 101', 'SIGKILL 101']);
    expect(await world.files.exists(`${LAYOUT.cache}/tmp`)).toBe(false);
  });

  it('that cannot be looked for keeps nobody from starting', async () => {
    const world = await createWorld();
    world.kernel.blind(true);
    const log = createFakeLogger();
    await endLeftChildren(world.ports(), LAYOUT, log);
    expect(world.kernel.signals).toEqual([]);
  });
});
