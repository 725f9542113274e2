import { afterEach, describe, expect, it } from 'vitest';
import type { OperationDocument } from '../../../src/domain/operation.ts';
import { LOCK, LONG_MS, rolloutLab } from '../../support/machine/rollout-lab.ts';
import { urlOf } from '../../support/machine/world.ts';

const lab = rolloutLab();
const { begin, replace, current, lockOf, releases, runsFrom, intents, holds, bothReady, beginUpdate, update } = lab;
afterEach(() => lab.machine.stop());

describe('a second release', () => {
  it('moves one GPU at a time, the next only when the one before is ready', async () => {
    const first = await begin();
    const held = new Set<string>();
    let ended: OperationDocument | null = null;
    const begun = await beginUpdate();
    const violations: string[] = [];
    const order: string[] = [];
    await lab.machine.until(
      'the update has ended',
      () => {
        ended = lab.machine.core.operations.get(begun.id);
        const moved = [0, 1].filter((gpu) => runsFrom(gpu) !== first);
        const ready = [0, 1].filter((gpu) => lab.machine.instance(gpu).ready);
        if (ready.length === 0) violations.push(`nobody is ready while ${JSON.stringify(moved)} are moved`);
        if (moved.includes(1) && !held.has('gpu 0 was ready') && !lab.machine.instance(0).ready) violations.push('gpu 1 moved too early');
        if (moved.includes(0) && lab.machine.instance(0).ready && lab.machine.instance(0).release !== first) held.add('gpu 0 was ready');
        order.push(moved.join(','));
        return ended.state !== 'running';
      },
      LONG_MS,
    );
    expect(ended).toMatchObject({ state: 'succeeded' });
    expect(violations).toEqual([]);
    expect([...new Set(order)]).toEqual(['', '0', '0,1']);
    expect(held).toContain('gpu 0 was ready');
    const second = await current();
    expect(second).not.toBe(first);
    expect([runsFrom(0), runsFrom(1)]).toEqual([second, second]);
    expect((await intents()).rollout).toBeNull();
    expect(await lab.machine.world.files.readText(LOCK)).toBe(await lockOf(second));
    expect(lab.machine.journal('rollout.done')).toHaveLength(1);
    await lab.machine.advance(5_000);
    expect(holds()).toEqual([]);
    expect(lab.machine.isReady()).toBe(true);
  });

  it('waits for the jobs of the instance whose turn it is, and sends it no new ones', async () => {
    const first = await begin();
    lab.machine.world.comfy.serve(urlOf(8188)).running.push('somebody');
    const begun = await beginUpdate();
    await lab.machine.until('gpu 0 is held', () => lab.machine.instance(0).hold?.includes('1 job') === true);
    await lab.machine.advance(60_000);
    expect([runsFrom(0), runsFrom(1)]).toEqual([first, first]);
    expect(lab.machine.instance(0).ready).toBe(false);
    expect(lab.machine.instance(1).ready).toBe(true);
    lab.machine.world.comfy.serve(urlOf(8188)).running.splice(0);
    expect(await lab.machine.finished(begun)).toMatchObject({ state: 'succeeded' });
    expect([runsFrom(0), runsFrom(1)]).not.toContain(first);
  });
});

describe('a release on which an instance never becomes ready', () => {
  it('is taken back by itself: current, lock and instances; it is told and not tried again', async () => {
    const first = await begin();
    const lock = await lab.machine.world.files.readText(LOCK);
    lab.machine.world.silent = (release) => release !== first;
    const pid1 = lab.machine.world.running().get('comfyui-gpu1')?.pid;
    const operation = await update();
    expect(operation).toMatchObject({ state: 'failed', error: { code: 'ROLLOUT_FAILED', message: expect.stringContaining('gpu 0') } });
    expect(await current()).toBe(first);
    expect(await lab.machine.world.files.readText(LOCK)).toBe(lock);
    await lab.machine.until('both serve', bothReady);
    expect([runsFrom(0), runsFrom(1)]).toEqual([first, first]);
    expect(lab.machine.world.running().get('comfyui-gpu1')?.pid).toBe(pid1);
    const refused = (await releases()).releases.find((release) => release.failed !== null);
    expect(refused).toMatchObject({
      proved: false,
      current: false,
      complete: true,
      failed: { code: 'ROLLOUT_FAILED', reason: expect.stringContaining('gpu 0') },
    });
    const begun = lab.machine.journal('install.begin').length;
    await lab.machine.advance(1_800_000);
    expect(lab.machine.journal('install.begin')).toHaveLength(begun);
    expect(await current()).toBe(first);
    // What was refused: another configuration may be tried.
    const { specDigest } = lab.machine.core.knowledge.desired ?? {};
    expect((await intents()).pinnedRelease).toMatchObject({ release: first, specDigest });
    expect((await intents()).rollout).toBeNull();
  });

  it('nor by the next agent; what else is asked for may be tried', async () => {
    const first = await begin({ install: { validateTimeoutMs: 30_000, onChange: 'install' } });
    lab.machine.world.silent = (release) => release !== first;
    const world = lab.machine.world;
    await update();
    await replace({ install: { validateTimeoutMs: 30_000, onChange: 'install' } });
    await lab.machine.advance(600_000);
    expect(lab.machine.journal('install.begin')).toHaveLength(2);
    expect(holds()).toContain('ROLLED_BACK');
    world.silent = () => false;
    expect(await update()).toMatchObject({ state: 'succeeded' });
    expect(holds()).not.toContain('ROLLED_BACK');
    expect(await current()).not.toBe(first);
  });

  it('is taken back when the instance ends again and again', async () => {
    const first = await begin();
    const begun = await beginUpdate();
    const { pm2 } = lab.machine.world;
    await lab.machine.until(
      'the update has ended',
      () => {
        if (runsFrom(0) !== first && runsFrom(0) !== undefined && lab.machine.world.running().has('comfyui-gpu0')) pm2.exit('comfyui-gpu0');
        return lab.machine.core.operations.get(begun.id).state !== 'running';
      },
      LONG_MS,
    );
    expect(lab.machine.core.operations.get(begun.id)).toMatchObject({
      state: 'failed',
      error: { code: 'ROLLOUT_FAILED', message: expect.stringContaining('ended') },
    });
    expect(await current()).toBe(first);
    await lab.machine.until('both serve', bothReady);
    expect([runsFrom(0), runsFrom(1)]).toEqual([first, first]);
  });

  it('is taken back when it quarantined the instance, which is then let go', async () => {
    const first = await begin({ health: { maxRestartsInWindow: 1 } });
    const begun = await beginUpdate();
    const { pm2 } = lab.machine.world;
    await lab.machine.until(
      'the update has ended',
      () => {
        if (runsFrom(0) !== first && runsFrom(0) !== undefined && lab.machine.world.running().has('comfyui-gpu0')) pm2.exit('comfyui-gpu0');
        return lab.machine.core.operations.get(begun.id).state !== 'running';
      },
      LONG_MS,
    );
    expect(lab.machine.core.operations.get(begun.id)).toMatchObject({
      error: { code: 'ROLLOUT_FAILED', message: expect.stringContaining('quarantined') },
    });
    await lab.machine.until('both serve', bothReady);
    expect([runsFrom(0), runsFrom(1)]).toEqual([first, first]);
    // What happened on the release that is gone is not held against it.
    pm2.exit('comfyui-gpu0');
    await lab.machine.advance(5_000);
    expect(bothReady()).toBe(true);
  });

  it('is the fault of the release only if the instance served before', async () => {
    const first = await begin();
    await lab.machine.core.agent.patchInstance('0', { desired: 'stopped' });
    await lab.machine.until('gpu 0 is stopped', () => lab.machine.instance(0).status === 'stopped');
    expect(await update()).toMatchObject({ state: 'succeeded' });
    expect(await current()).not.toBe(first);
    expect(lab.machine.instance(0).status).toBe('stopped');
    expect(runsFrom(1)).toBe(await current());
  });
});
