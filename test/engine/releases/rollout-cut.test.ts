import { afterEach, describe, expect, it } from 'vitest';
import { LOCK, LONG_MS, ROLLOUT_CONFIG, rolloutLab } from '../../support/machine/rollout-lab.ts';
import { killedAndReplaced } from '../../support/machine/successor.ts';

const lab = rolloutLab();
const { begin, current, lockOf, releases, runsFrom, intents, holds, bothReady, beginUpdate, update, rollback } = lab;
afterEach(() => lab.machine.stop());

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
        const first = await begin();
        const { successor, call } = await killedAndReplaced(lab.machine, cutAt, when, beginUpdate, ROLLOUT_CONFIG);
        expect(call).not.toBeNull();
        lab.machine = successor;
        await lab.machine.until(
          'both run from the same new release',
          () => runsFrom(0) !== first && runsFrom(0) === runsFrom(1) && lab.machine.isReady(),
          LONG_MS,
        );
        await lab.machine.advance(10_000);
        expect(await current()).toBe(runsFrom(0));
        expect((await intents()).rollout).toBeNull();
        expect(await lab.machine.world.files.readText(LOCK)).toBe(await lockOf(await current()));
        expect(holds()).toEqual([]);
      });

      it(`back, ${when} ${name}: the next one goes on`, async () => {
        const first = await begin();
        await update();
        const { successor, call } = await killedAndReplaced(
          lab.machine,
          cutAt,
          when,
          () => rollback().catch(() => undefined),
          ROLLOUT_CONFIG,
        );
        expect(call).not.toBeNull();
        lab.machine = successor;
        await lab.machine.until(
          'both run from the old release',
          () => runsFrom(0) === first && runsFrom(1) === first && bothReady(),
          LONG_MS,
        );
        await lab.machine.advance(10_000);
        expect(await current()).toBe(first);
        expect((await intents()).rollout).toBeNull();
        expect(await lab.machine.world.files.readText(LOCK)).toBe(await lockOf(first));
      });
    }
  }

  it('and whose release does not work: the next one takes it back', async () => {
    const first = await begin();
    lab.machine.world.silent = (release) => release !== first;
    const { successor } = await killedAndReplaced(
      lab.machine,
      (call) => call.name === 'processes.start' && call.subject === 'comfyui-gpu0',
      'after',
      beginUpdate,
      ROLLOUT_CONFIG,
    );
    lab.machine = successor;
    await lab.machine.until('both serve the old release', () => bothReady() && runsFrom(0) === first, LONG_MS);
    expect(await current()).toBe(first);
    expect((await releases()).releases.filter(({ failed }) => failed?.code === 'ROLLOUT_FAILED')).toHaveLength(1);
    const begun = lab.machine.journal('install.begin').length;
    await lab.machine.advance(600_000);
    expect(lab.machine.journal('install.begin')).toHaveLength(begun);
    expect(await current()).toBe(first);
  });
});
