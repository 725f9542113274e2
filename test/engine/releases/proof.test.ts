import { afterEach, describe, expect, it } from 'vitest';
import { collectReleases } from '../../../src/engine/releases/releases.ts';
import { configNodes } from '../../support/machine/fake-repositories.ts';
import { PACK, rolloutLab } from '../../support/machine/rollout-lab.ts';
import type { World } from '../../support/machine/world.ts';

const lab = rolloutLab();
const { begin, replace, current, releases, runsFrom, update, rollback, install } = lab;
afterEach(() => lab.machine.stop());

describe('the proof', () => {
  const withClasses = (world: World) => void world.classes.set(PACK, ['One', 'Two']);
  const refused = (message: RegExp) => ({ state: 'failed', error: { code: 'VALIDATION_FAILED', message: expect.stringMatching(message) } });

  it('refuses a release in which a pack that loaded does not import', async () => {
    const first = await begin();
    lab.machine.world.broken.add(PACK);
    expect(await update()).toMatchObject(refused(/ComfyUI-One loaded before, and .*does not import/));
    expect(await current()).toBe(first);
    expect((await releases()).releases.filter(({ failed }) => failed !== null)).toMatchObject([
      { proved: false, complete: false, failed: { code: 'VALIDATION_FAILED' } },
    ]);
    expect([runsFrom(0), runsFrom(1)]).toEqual([first, first]);
  });

  it('refuses one that lost a node class, unless the loss is accepted', async () => {
    const first = await begin({}, withClasses);
    lab.machine.world.classes.set(PACK, ['One']);
    expect(await update()).toMatchObject(refused(/1 node class of release .* is missing: Two \(ComfyUI-One\)/));
    expect(await current()).toBe(first);
    await replace({ install: { validateTimeoutMs: 30_000, allowMissingNodes: ['Two'] } });
    await lab.machine.until('it is ready', lab.machine.isReady);
    expect(await update()).toMatchObject({ state: 'succeeded' });
  });

  it('tells which workflow needs the class', async () => {
    await begin({}, withClasses);
    lab.machine.world.files.put('/workspace/shared/workflows/job.json', JSON.stringify({ 1: { class_type: 'Three', inputs: {} } }));
    expect(await update()).toMatchObject(refused(/workflows need node class that is missing: Three \(job\.json\)/));
  });

  it('lets a pack go that was removed on purpose', async () => {
    const first = await begin({}, withClasses);
    lab.machine.world.files.put('/workspace/shared/workflows/job.json', JSON.stringify({ 1: { class_type: 'Two', inputs: {} } }));
    lab.machine.world.files.put('/workspace/shared/config_nodes.json', configNodes());
    await lab.machine.advance(1_000);
    expect(await install()).toMatchObject({
      state: 'succeeded',
    });
    const { releases: all } = await releases();
    const now = all.find((release) => release.current);
    expect(now?.id).not.toBe(first);
    expect(now?.release?.validated?.missingNodes).toEqual(['Two']);
    expect(now?.release?.warnings.join()).toMatch(/Two/);
  });

  it('keeps the newest release that failed for whoever looks into it, and no other', async () => {
    await begin();
    lab.machine.world.broken.add(PACK);
    await update();
    const [one] = (await releases()).releases.filter(({ failed }) => failed !== null);
    await update();
    const left = (await releases()).releases.filter(({ failed }) => failed !== null);
    expect(left).toHaveLength(1);
    expect(left[0]?.id).not.toBe(one?.id);
    expect(await lab.machine.world.files.exists(`/workspace/releases/${left[0]?.id}/ComfyUI/main.py`)).toBe(true);
    lab.machine.world.broken.clear();
    expect(await update()).toMatchObject({ state: 'succeeded' });
    expect((await releases()).releases.filter(({ failed }) => failed !== null)).toHaveLength(1);
  });
});

describe('old releases', () => {
  it('stay while PM2 cannot be asked: any of them may be in use', async () => {
    const first = await begin({ releases: { keep: 1 } });
    expect(await update()).toMatchObject({ state: 'succeeded' });
    const all = async () => (await releases()).releases.map(({ id }) => id);
    expect(await all()).toContain(first);
    // A release that is refused is an occasion to collect, too.
    lab.machine.world.broken.add(PACK);
    lab.machine.world.pm2.deafen();
    await lab.machine.advance(5_000);
    expect(await update()).toMatchObject({ state: 'failed', error: { code: 'VALIDATION_FAILED' } });
    expect(await update()).toMatchObject({ state: 'failed' });
    expect((await all()).length).toBe(4);
    expect(await all()).toContain(first);
    lab.machine.world.pm2.deafen(false);
    await lab.machine.advance(5_000);
    expect(await update()).toMatchObject({ state: 'failed' });
    expect((await all()).length).toBeLessThan(5);
  });

  it('go, except the current one, the last proved one before it and what is in use', async () => {
    const first = await begin({ releases: { keep: 1 } });
    const ids = [first];
    for (let count = 0; count < 3; count++) {
      expect(await update()).toMatchObject({ state: 'succeeded' });
      ids.push(await current());
    }
    expect((await releases()).releases.map(({ id }) => id)).toEqual(ids.slice(-2));
    const { files } = lab.machine.world;
    const { layout } = lab.machine.core.knowledge.configuration;
    expect(await lab.machine.finished(await rollback())).toMatchObject({ state: 'succeeded' });
    const [, , third = '', fourth = ''] = ids;
    expect(await collectReleases(files, layout, 1, new Set([fourth, third]))).toEqual([]);
    expect((await releases()).releases.map(({ id }) => id)).toEqual([third, fourth]);
  });
});
