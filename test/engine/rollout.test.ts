import { afterEach, describe, expect, it } from 'vitest';
import type { ReleasesDocument } from '../../src/domain/agent.ts';
import type { ConfigInput } from '../../src/domain/config.ts';
import type { OperationDocument } from '../../src/domain/operation.ts';
import type { Intents } from '../../src/domain/state.ts';
import { collectReleases } from '../../src/engine/releases.ts';
import { COMFYUI, configNodes, INDEX, packUrl, push, repositories } from '../support/fake-repositories.ts';
import { aMachine, type Machine } from '../support/machine.ts';
import { killedAndReplaced } from '../support/successor.ts';
import { createWorld, urlOf, type World } from '../support/world.ts';

const PACK = 'ComfyUI-One';
const LOCK = '/workspace/agent.lock.json';
const CONFIG: ConfigInput = { comfyui: { repository: COMFYUI }, install: { validateTimeoutMs: 30_000 } };

let machine: Machine;
afterEach(async () => {
  await machine.stop();
});

/** A machine with a pack from git and two instances that are ready. */
async function lab(config: ConfigInput = {}, prepare: (world: World) => void = () => undefined): Promise<string> {
  const world = await createWorld({ repositories: repositories({ [PACK]: null }), index: INDEX });
  world.files.put('/workspace/shared/config_nodes.json', configNodes(PACK));
  prepare(world);
  machine = await aMachine({ world, config: { ...CONFIG, ...config } });
  await machine.start();
  await machine.until('the machine is healthy', machine.isReady);
  await machine.advance(1_000);
  return current();
}

const current = async (): Promise<string> => (await machine.world.files.readLink('/workspace/current'))?.split('/').at(-1) ?? 'none';
const lockOf = (id: string) => machine.world.files.readText(`/workspace/releases/${id}/agent.lock.json`);
const releases = (): Promise<ReleasesDocument> => machine.core.agent.releases();
const runsFrom = (gpu: number): string | undefined => machine.world.pm2.entry(`comfyui-gpu${gpu}`)?.env['AGENT_RELEASE'];
const running = (): OperationDocument | null => machine.core.operations.running('installation');
const intents = async (): Promise<Intents> =>
  JSON.parse((await machine.world.files.readText('/workspace/state/intents.json')) ?? '{}') as Intents;
const holds = (): readonly string[] => machine.core.documents().health.holds.map((hold) => hold.code);
const bothReady = (): boolean => machine.instance(0).ready && machine.instance(1).ready;
let version = 1;
const change = (): string => push(machine.world.repositories[packUrl(PACK)], PACK, { '__init__.py': `# ${++version}` });

/** Asks for an update to a new commit of the pack. */
async function beginUpdate(): Promise<OperationDocument> {
  change();
  await machine.advance(1_000);
  return machine.core.agent.startOperation({ kind: 'update', moves: { all: true, core: null, packs: {} } });
}
const update = async (): Promise<OperationDocument> => machine.finished(await beginUpdate(), 400_000);
const rollback = (release?: string) =>
  machine.core.agent.startOperation({ kind: 'rollback', ...(release === undefined ? {} : { release }) });

/** A server of the instance with one job that somebody else takes away. */
const serverOf = (gpu: number) => machine.world.comfy.serve(urlOf(8188 + gpu));

describe('a second release', () => {
  it('moves one GPU at a time, the next only when the one before is ready', async () => {
    const first = await lab();
    const held = new Set<string>();
    let ended: OperationDocument | null = null;
    const begun = await beginUpdate();
    const violations: string[] = [];
    const order: string[] = [];
    await machine.until(
      'the update has ended',
      () => {
        ended = machine.core.operations.get(begun.id);
        const moved = [0, 1].filter((gpu) => runsFrom(gpu) !== first);
        const ready = [0, 1].filter((gpu) => machine.instance(gpu).ready);
        if (ready.length === 0) violations.push(`nobody is ready while ${JSON.stringify(moved)} are moved`);
        if (moved.includes(1) && !held.has('gpu 0 was ready') && !machine.instance(0).ready) violations.push('gpu 1 moved too early');
        if (moved.includes(0) && machine.instance(0).ready && machine.instance(0).release !== first) held.add('gpu 0 was ready');
        order.push(moved.join(','));
        return ended.state !== 'running';
      },
      400_000,
    );
    expect(ended).toMatchObject({ state: 'succeeded' });
    expect(violations).toEqual([]);
    expect([...new Set(order)]).toEqual(['', '0', '0,1']);
    expect(held).toContain('gpu 0 was ready');
    const second = await current();
    expect(second).not.toBe(first);
    expect([runsFrom(0), runsFrom(1)]).toEqual([second, second]);
    expect((await intents()).rollout).toBeNull();
    expect(await machine.world.files.readText(LOCK)).toBe(await lockOf(second));
    expect(machine.journal('rollout.done')).toHaveLength(1);
    await machine.advance(5_000);
    expect(holds()).toEqual([]);
    expect(machine.isReady()).toBe(true);
  });

  it('waits for the jobs of the instance whose turn it is, and sends it no new ones', async () => {
    const first = await lab();
    serverOf(0).running.push('somebody');
    const begun = await beginUpdate();
    await machine.until('gpu 0 is held', () => machine.instance(0).hold?.includes('1 job') === true);
    await machine.advance(60_000);
    expect([runsFrom(0), runsFrom(1)]).toEqual([first, first]);
    expect(machine.instance(0).ready).toBe(false);
    expect(machine.instance(1).ready).toBe(true);
    serverOf(0).running.splice(0);
    expect(await machine.finished(begun)).toMatchObject({ state: 'succeeded' });
    expect([runsFrom(0), runsFrom(1)]).not.toContain(first);
  });
});

describe('a release on which an instance never becomes ready', () => {
  it('is taken back by itself: current, lock and instances; it is told and not tried again', async () => {
    const first = await lab();
    const lock = await machine.world.files.readText(LOCK);
    machine.world.silent = (release) => release !== first;
    const pid1 = machine.world.running().get('comfyui-gpu1')?.pid;
    const operation = await update();
    expect(operation).toMatchObject({ state: 'failed', error: { code: 'ROLLOUT_FAILED', message: expect.stringContaining('gpu 0') } });
    expect(await current()).toBe(first);
    expect(await machine.world.files.readText(LOCK)).toBe(lock);
    await machine.until('both serve', bothReady);
    expect([runsFrom(0), runsFrom(1)]).toEqual([first, first]);
    expect(machine.world.running().get('comfyui-gpu1')?.pid).toBe(pid1);
    const refused = (await releases()).releases.find((release) => release.failed !== null);
    expect(refused).toMatchObject({
      proved: false,
      current: false,
      complete: true,
      failed: { code: 'ROLLOUT_FAILED', reason: expect.stringContaining('gpu 0') },
    });
    const begun = machine.journal('install.begin').length;
    await machine.advance(1_800_000);
    expect(machine.journal('install.begin')).toHaveLength(begun);
    expect(await current()).toBe(first);
    expect((await intents()).pinnedRelease).toMatchObject({ release: first });
    expect((await intents()).rollout).toBeNull();
  });

  it('nor by the next agent; what else is asked for may be tried', async () => {
    const first = await lab({ install: { validateTimeoutMs: 30_000, onChange: 'install' } });
    machine.world.silent = (release) => release !== first;
    const world = machine.world;
    await update();
    await machine.stop();
    machine = await aMachine({ world, config: { ...CONFIG, install: { validateTimeoutMs: 30_000, onChange: 'install' } } });
    await machine.start();
    await machine.advance(600_000);
    expect(machine.journal('install.begin')).toHaveLength(2);
    expect(holds()).toContain('ROLLED_BACK');
    world.silent = () => false;
    expect(await update()).toMatchObject({ state: 'succeeded' });
    expect(holds()).not.toContain('ROLLED_BACK');
    expect(await current()).not.toBe(first);
  });

  it('is taken back when the instance ends again and again', async () => {
    const first = await lab();
    const begun = await beginUpdate();
    const { pm2 } = machine.world;
    await machine.until(
      'the update has ended',
      () => {
        if (runsFrom(0) !== first && runsFrom(0) !== undefined && machine.world.running().has('comfyui-gpu0')) pm2.exit('comfyui-gpu0');
        return machine.core.operations.get(begun.id).state !== 'running';
      },
      400_000,
    );
    expect(machine.core.operations.get(begun.id)).toMatchObject({
      state: 'failed',
      error: { code: 'ROLLOUT_FAILED', message: expect.stringContaining('ended') },
    });
    expect(await current()).toBe(first);
    await machine.until('both serve', bothReady);
    expect([runsFrom(0), runsFrom(1)]).toEqual([first, first]);
  });

  it('is the fault of the release only if the instance served before', async () => {
    const first = await lab();
    await machine.core.agent.patchInstance('0', { desired: 'stopped' });
    await machine.until('gpu 0 is stopped', () => machine.instance(0).status === 'stopped');
    expect(await update()).toMatchObject({ state: 'succeeded' });
    expect(await current()).not.toBe(first);
    expect(machine.instance(0).status).toBe('stopped');
    expect(runsFrom(1)).toBe(await current());
  });
});

describe('agent rollback', () => {
  it('switches current and the lock at once, moves the instances, and stays until an installation is asked for', async () => {
    const first = await lab();
    const lock = await machine.world.files.readText(LOCK);
    await update();
    const second = await current();
    const operation = await rollback();
    expect(operation).toMatchObject({ kind: 'rollback', state: 'running' });
    expect(await current()).toBe(first);
    expect(await machine.world.files.readText(LOCK)).toBe(lock);
    expect(await machine.finished(operation)).toMatchObject({ state: 'succeeded', message: expect.stringContaining(first) });
    expect([runsFrom(0), runsFrom(1)]).toEqual([first, first]);
    await machine.advance(60_000);
    expect(await current()).toBe(first);
    expect((await releases()).releases.map(({ id, proved, current: isCurrent }) => [id, proved, isCurrent])).toEqual([
      [first, true, true],
      [second, true, false],
    ]);
    expect(holds()).toEqual(['ROLLED_BACK']);
    expect((await intents()).pinnedRelease).toMatchObject({ release: first });
    expect(machine.journal('release.rollback')).toHaveLength(1);
  });

  it('and back again by name', async () => {
    const first = await lab();
    await update();
    const second = await current();
    expect(await machine.finished(await rollback(first))).toMatchObject({ state: 'succeeded' });
    expect(await machine.finished(await rollback(second))).toMatchObject({ state: 'succeeded' });
    expect(await current()).toBe(second);
    expect([runsFrom(0), runsFrom(1)]).toEqual([second, second]);
    expect((await intents()).pinnedRelease).toMatchObject({ release: second });
  });

  it('to a release of another configuration is held with ROLLED_BACK until install is asked for', async () => {
    const first = await lab({ install: { validateTimeoutMs: 30_000, onChange: 'install' } });
    machine.world.repositories[packUrl('ComfyUI-Two')] = repositories({ 'ComfyUI-Two': null })[packUrl('ComfyUI-Two')] as never;
    machine.world.files.put('/workspace/shared/config_nodes.json', configNodes(PACK, 'ComfyUI-Two'));
    await machine.core.refreshInputs();
    await machine.core.reconciler.trigger();
    await machine.until('the second release is in place', () => machine.journal('install.done').length === 2, 400_000);
    expect(await machine.finished(await rollback())).toMatchObject({ state: 'succeeded' });
    await machine.advance(120_000);
    expect(await current()).toBe(first);
    expect(holds()).toContain('ROLLED_BACK');
    expect(machine.journal('install.begin')).toHaveLength(2);
    expect(await machine.finished(await machine.core.agent.startOperation({ kind: 'install' }), 400_000)).toMatchObject({
      state: 'succeeded',
    });
    expect(await current()).not.toBe(first);
    await machine.advance(1_000);
    expect(holds()).not.toContain('ROLLED_BACK');
    expect((await intents()).pinnedRelease).toBeNull();
  });

  it('turns an update around that is moving instances', async () => {
    const first = await lab();
    const begun = await beginUpdate();
    await machine.until('gpu 0 has moved', () => runsFrom(0) !== first, 400_000);
    const operation = await rollback();
    expect(await current()).toBe(first);
    expect(await machine.finished(operation)).toMatchObject({ state: 'succeeded' });
    expect(machine.core.operations.get(begun.id).state).not.toBe('running');
    expect([runsFrom(0), runsFrom(1)]).toEqual([first, first]);
    await machine.advance(60_000);
    expect(await current()).toBe(first);
    expect(running()).toBeNull();
  });

  it('refuses what is unknown, in use, unproved, damaged or failed, with the list', async () => {
    const first = await lab();
    await expect(rollback()).rejects.toMatchObject({ code: 'RELEASE_UNUSABLE', help: 'there is no other proved release on this machine' });
    await update();
    const second = await current();
    await update();
    const third = await current();
    const refusal = (message: RegExp, help = `these can be had: ${second}, ${first}`) => ({
      code: 'RELEASE_UNUSABLE',
      message: expect.stringMatching(message),
      help,
    });
    await expect(rollback('nowhere')).rejects.toMatchObject(refusal(/there is no release nowhere/));
    await expect(rollback(third)).rejects.toMatchObject(refusal(/in use/));
    await machine.world.files.remove(`/workspace/releases/${second}/ComfyUI/main.py`);
    await expect(rollback(second)).rejects.toMatchObject(refusal(/not whole: .*main\.py is missing/, `these can be had: ${first}`));
    const path = `/workspace/releases/${first}/release.json`;
    const text = (await machine.world.files.readText(path)) ?? '';
    machine.world.files.put(path, JSON.stringify({ ...(JSON.parse(text) as object), validated: null }));
    await expect(rollback(first)).rejects.toMatchObject({ code: 'RELEASE_UNUSABLE', message: expect.stringMatching(/never proved/) });
    machine.world.files.put(path, '{');
    await expect(rollback(first)).rejects.toMatchObject({ code: 'RELEASE_UNUSABLE', message: expect.stringMatching(/not whole/) });
    expect(await current()).toBe(third);
    expect((await intents()).pinnedRelease).toBeNull();
  });

  it('passes over a release that was damaged when none was named', async () => {
    const first = await lab();
    await update();
    const second = await current();
    await update();
    await machine.world.files.remove(`/workspace/releases/${second}/ComfyUI/main.py`);
    expect(await machine.finished(await rollback())).toMatchObject({ state: 'succeeded' });
    expect(await current()).toBe(first);
  });

  it('with a damaged lock goes back all the same', async () => {
    const first = await lab();
    await update();
    machine.world.files.put(`/workspace/releases/${first}/agent.lock.json`, '{');
    expect(await machine.finished(await rollback())).toMatchObject({ state: 'succeeded' });
    expect(await current()).toBe(first);
    expect(await machine.world.files.readText(LOCK)).not.toBe('{');
  });

  it('to a release on which instances do not become ready stays there and says so', async () => {
    const first = await lab();
    await update();
    machine.world.silent = (release) => release === first;
    const operation = await machine.finished(await rollback(), 600_000);
    expect(operation).toMatchObject({
      state: 'failed',
      error: { code: 'INSTANCE_FAILED', message: expect.stringContaining(`release ${first} is in use, but`) },
    });
    expect(await current()).toBe(first);
    expect((await intents()).rollout).toBeNull();
  });
});

describe('an agent that ends in the middle of a rollout', () => {
  const cuts: readonly [string, (call: { name: string; subject: string }) => boolean][] = [
    ['current', (call) => call.name === 'files.link' && call.subject.includes('/releases/')],
    ['the lock', (call) => call.name === 'files.writeText' && call.subject === LOCK],
    ['the first restart', (call) => call.name === 'processes.start' && call.subject === 'comfyui-gpu0'],
    ['the second restart', (call) => call.name === 'processes.start' && call.subject === 'comfyui-gpu1'],
  ];
  for (const [name, cutAt] of cuts) {
    for (const when of ['before', 'after'] as const) {
      it(`forward, ${when} ${name}: the next one goes on`, async () => {
        const first = await lab();
        const { successor, call } = await killedAndReplaced(machine, cutAt, when, beginUpdate, CONFIG);
        expect(call).not.toBeNull();
        machine = successor;
        await machine.until(
          'both run from the same new release',
          () => runsFrom(0) !== first && runsFrom(0) === runsFrom(1) && machine.isReady(),
          400_000,
        );
        await machine.advance(10_000);
        expect(await current()).toBe(runsFrom(0));
        expect((await intents()).rollout).toBeNull();
        expect(await machine.world.files.readText(LOCK)).toBe(await lockOf(await current()));
        expect(holds()).toEqual([]);
      });

      it(`back, ${when} ${name}: the next one goes on`, async () => {
        const first = await lab();
        await update();
        const { successor, call } = await killedAndReplaced(machine, cutAt, when, () => rollback().catch(() => undefined), CONFIG);
        expect(call).not.toBeNull();
        machine = successor;
        await machine.until('both run from the old release', () => runsFrom(0) === first && runsFrom(1) === first && bothReady(), 400_000);
        await machine.advance(10_000);
        expect(await current()).toBe(first);
        expect((await intents()).rollout).toBeNull();
        expect(await machine.world.files.readText(LOCK)).toBe(await lockOf(first));
      });
    }
  }

  it('and whose release does not work: the next one takes it back', async () => {
    const first = await lab();
    machine.world.silent = (release) => release !== first;
    const { successor } = await killedAndReplaced(
      machine,
      (call) => call.name === 'processes.start' && call.subject === 'comfyui-gpu0',
      'after',
      beginUpdate,
      CONFIG,
    );
    machine = successor;
    await machine.until('both serve the old release', () => bothReady() && runsFrom(0) === first, 400_000);
    expect(await current()).toBe(first);
    expect((await releases()).releases.filter(({ failed }) => failed?.code === 'ROLLOUT_FAILED')).toHaveLength(1);
    const begun = machine.journal('install.begin').length;
    await machine.advance(600_000);
    expect(machine.journal('install.begin')).toHaveLength(begun);
    expect(await current()).toBe(first);
  });
});

describe('the proof', () => {
  const withClasses = (world: World) => void world.classes.set(PACK, ['One', 'Two']);
  const refused = (message: RegExp) => ({ state: 'failed', error: { code: 'VALIDATION_FAILED', message: expect.stringMatching(message) } });

  it('refuses a release in which a pack that loaded does not import', async () => {
    const first = await lab();
    machine.world.broken.add(PACK);
    expect(await update()).toMatchObject(refused(/ComfyUI-One loaded before, and .*does not import/));
    expect(await current()).toBe(first);
    expect((await releases()).releases.filter(({ failed }) => failed !== null)).toMatchObject([
      { proved: false, complete: false, failed: { code: 'VALIDATION_FAILED' } },
    ]);
    expect([runsFrom(0), runsFrom(1)]).toEqual([first, first]);
  });

  it('refuses one that lost a node class, unless the loss is accepted', async () => {
    const first = await lab({}, withClasses);
    machine.world.classes.set(PACK, ['One']);
    expect(await update()).toMatchObject(refused(/1 node class of release .* is missing: Two \(ComfyUI-One\)/));
    expect(await current()).toBe(first);
    const { world } = machine;
    await machine.stop();
    machine = await aMachine({ world, config: { ...CONFIG, install: { validateTimeoutMs: 30_000, allowMissingNodes: ['Two'] } } });
    await machine.start();
    await machine.until('it is ready', machine.isReady);
    expect(await update()).toMatchObject({ state: 'succeeded' });
  });

  it('tells which workflow needs the class', async () => {
    await lab({}, withClasses);
    machine.world.files.put('/workspace/shared/workflows/job.json', JSON.stringify({ 1: { class_type: 'Three', inputs: {} } }));
    expect(await update()).toMatchObject(refused(/workflows need node class that is missing: Three \(job\.json\)/));
  });

  it('lets a pack go that was removed on purpose', async () => {
    const first = await lab({}, withClasses);
    machine.world.files.put('/workspace/shared/workflows/job.json', JSON.stringify({ 1: { class_type: 'Two', inputs: {} } }));
    machine.world.files.put('/workspace/shared/config_nodes.json', configNodes());
    await machine.advance(1_000);
    expect(await machine.finished(await machine.core.agent.startOperation({ kind: 'install' }), 400_000)).toMatchObject({
      state: 'succeeded',
    });
    const { releases: all } = await releases();
    const now = all.find((release) => release.current);
    expect(now?.id).not.toBe(first);
    expect(now?.release?.validated?.missingNodes).toEqual(['Two']);
    expect(now?.release?.warnings.join()).toMatch(/Two/);
  });

  it('keeps the newest release that failed for whoever looks into it, and no other', async () => {
    await lab();
    machine.world.broken.add(PACK);
    await update();
    const [one] = (await releases()).releases.filter(({ failed }) => failed !== null);
    await update();
    const left = (await releases()).releases.filter(({ failed }) => failed !== null);
    expect(left).toHaveLength(1);
    expect(left[0]?.id).not.toBe(one?.id);
    expect(await machine.world.files.exists(`/workspace/releases/${left[0]?.id}/ComfyUI/main.py`)).toBe(true);
    machine.world.broken.clear();
    expect(await update()).toMatchObject({ state: 'succeeded' });
    expect((await releases()).releases.filter(({ failed }) => failed !== null)).toHaveLength(1);
  });
});

describe('old releases', () => {
  it('go, except the current one, the last proved one before it and what is in use', async () => {
    const first = await lab({ releases: { keep: 1 } });
    const ids = [first];
    for (let count = 0; count < 3; count++) {
      expect(await update()).toMatchObject({ state: 'succeeded' });
      ids.push(await current());
    }
    expect((await releases()).releases.map(({ id }) => id)).toEqual(ids.slice(-2));
    const { files } = machine.world;
    const { layout } = machine.core.knowledge.configuration;
    expect(await machine.finished(await rollback())).toMatchObject({ state: 'succeeded' });
    const [, , third = '', fourth = ''] = ids;
    expect(await collectReleases(files, layout, 1, new Set([fourth, third]))).toEqual([]);
    expect((await releases()).releases.map(({ id }) => id)).toEqual([third, fourth]);
  });
});
