import { afterEach, describe, expect, it } from 'vitest';
import { AgentError } from '../../../src/domain/errors/errors.ts';
import { withInstance } from '../../../src/plan/instances/intents.ts';
import { configNodes, packUrl, repositories } from '../../support/machine/fake-repositories.ts';
import { LOCK, LONG_MS, PACK, rolloutLab } from '../../support/machine/rollout-lab.ts';
import { urlOf } from '../../support/machine/world.ts';

const lab = rolloutLab();
const { begin, beginUpdate, bothReady, current, holds, install, intents, releases, rollback, runsFrom, update } = lab;
afterEach(() => lab.machine.stop());

describe('agent rollback', () => {
  it('switches current and the lock at once, moves the instances, and stays until an installation is asked for', async () => {
    const first = await begin();
    const lock = await lab.machine.world.files.readText(LOCK);
    await update();
    const second = await current();
    const operation = await rollback();
    expect(operation).toMatchObject({ kind: 'rollback', state: 'running' });
    expect(await current()).toBe(first);
    expect(await lab.machine.world.files.readText(LOCK)).toBe(lock);
    expect(await lab.machine.finished(operation)).toMatchObject({ state: 'succeeded', message: expect.stringContaining(first) });
    expect([runsFrom(0), runsFrom(1)]).toEqual([first, first]);
    await lab.machine.advance(60_000);
    expect(await current()).toBe(first);
    expect((await releases()).releases.map(({ id, proved, current: isCurrent }) => [id, proved, isCurrent])).toEqual([
      [first, true, true],
      [second, true, false],
    ]);
    expect(holds()).toEqual(['ROLLED_BACK']);
    expect((await intents()).pinnedRelease).toMatchObject({ release: first });
    expect(lab.machine.journal('release.rollback')).toHaveLength(1);
    // Nothing is to be built: the wish alone lets go.
    expect(await install()).toMatchObject({ state: 'succeeded', message: expect.stringContaining('already right') });
    await lab.machine.advance(1_000);
    expect(holds()).toEqual([]);
    expect((await intents()).pinnedRelease).toBeNull();
  });

  it('gives instances another chance that were quarantined on the release that is left', async () => {
    const first = await begin();
    await update();
    await lab.machine.core.state.change((intents) => withInstance(intents, 1, { quarantined: 'ended 11 times' }));
    await lab.machine.until(
      'it is stopped',
      () => lab.machine.instance(1).status === 'quarantined' && lab.machine.instance(1).pid === null,
    );
    expect(await lab.machine.finished(await rollback())).toMatchObject({ state: 'succeeded' });
    await lab.machine.until('both serve', bothReady, LONG_MS);
    expect([runsFrom(0), runsFrom(1)]).toEqual([first, first]);
  });

  it('--dry-run tells where it would go and what differs, and does nothing', async () => {
    const first = await begin();
    await update();
    const second = await current();
    const before = lab.machine.world.files.tree('/workspace/state');
    const operation = await lab.machine.finished(await lab.machine.core.agent.startOperation({ kind: 'rollback', dryRun: true }));
    expect(operation.message).toMatch(
      new RegExp(
        `^release ${first} would be used in place of ${second}; (core ComfyUI: .* -> .*; )?pack ${PACK}: [0-9a-f]{10}.* -> [0-9a-f]{10}`,
      ),
    );
    expect(await current()).toBe(second);
    expect(lab.machine.world.files.tree('/workspace/state')).toEqual(before);
    expect(holds()).toEqual([]);
  });

  it('and back again by name', async () => {
    const first = await begin();
    await update();
    const second = await current();
    expect(await lab.machine.finished(await rollback(first))).toMatchObject({ state: 'succeeded' });
    expect(await lab.machine.finished(await rollback(second))).toMatchObject({ state: 'succeeded' });
    expect(await current()).toBe(second);
    expect([runsFrom(0), runsFrom(1)]).toEqual([second, second]);
    expect((await intents()).pinnedRelease).toMatchObject({ release: second });
  });

  it('to a release of another configuration is held with ROLLED_BACK until install is asked for', async () => {
    const first = await begin({ install: { validateTimeoutMs: 30_000, onChange: 'install' } });
    lab.machine.world.repositories[packUrl('ComfyUI-Two')] = repositories({ 'ComfyUI-Two': null })[packUrl('ComfyUI-Two')] as never;
    lab.machine.world.files.put('/workspace/shared/config_nodes.json', configNodes(PACK, 'ComfyUI-Two'));
    await lab.machine.core.refreshInputs();
    await lab.machine.core.reconciler.trigger();
    await lab.machine.until('the second release is in place', () => lab.machine.journal('install.done').length === 2, LONG_MS);
    expect(await lab.machine.finished(await rollback())).toMatchObject({ state: 'succeeded' });
    await lab.machine.advance(120_000);
    expect(await current()).toBe(first);
    expect(holds()).toContain('ROLLED_BACK');
    expect(lab.machine.journal('install.begin')).toHaveLength(2);
    expect(await install()).toMatchObject({
      state: 'succeeded',
    });
    expect(await current()).not.toBe(first);
    await lab.machine.advance(1_000);
    expect(holds()).not.toContain('ROLLED_BACK');
    expect((await intents()).pinnedRelease).toBeNull();
  });

  it('turns an update around that is moving instances', async () => {
    const first = await begin();
    const begun = await beginUpdate();
    await lab.machine.until('gpu 0 has moved', () => runsFrom(0) !== first, LONG_MS);
    const operation = await rollback();
    expect(await current()).toBe(first);
    expect(await lab.machine.finished(operation)).toMatchObject({ state: 'succeeded' });
    expect(lab.machine.core.operations.get(begun.id).state).not.toBe('running');
    expect([runsFrom(0), runsFrom(1)]).toEqual([first, first]);
    await lab.machine.advance(60_000);
    expect(await current()).toBe(first);
    expect(lab.machine.core.operations.running('installation')).toBeNull();
  });

  it('refuses what is unknown, in use, unproved, damaged or failed, with the list', async () => {
    const first = await begin();
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
    await lab.machine.world.files.remove(`/workspace/releases/${second}/ComfyUI/main.py`);
    await expect(rollback(second)).rejects.toMatchObject(refusal(/not whole: .*main\.py is missing/, `these can be had: ${first}`));
    // The copy in the release is for people: whoever can write there changes nothing by it.
    lab.machine.world.files.put(`/workspace/releases/${first}/release.json`, '{');
    const path = `/workspace/agent-only/releases/${first}/release.json`;
    const text = (await lab.machine.world.files.readText(path)) ?? '';
    lab.machine.world.files.put(path, JSON.stringify({ ...(JSON.parse(text) as object), validated: null }));
    await expect(rollback(first)).rejects.toMatchObject({ code: 'RELEASE_UNUSABLE', message: expect.stringMatching(/never proved/) });
    lab.machine.world.files.put(path, '{');
    await expect(rollback(first)).rejects.toMatchObject({ code: 'RELEASE_UNUSABLE', message: expect.stringMatching(/not whole/) });
    expect(await current()).toBe(third);
    expect((await intents()).pinnedRelease).toBeNull();
  });

  it('passes over a release that was damaged when none was named', async () => {
    const first = await begin();
    await update();
    const second = await current();
    await update();
    await lab.machine.world.files.remove(`/workspace/releases/${second}/ComfyUI/main.py`);
    expect(await lab.machine.finished(await rollback())).toMatchObject({ state: 'succeeded' });
    expect(await current()).toBe(first);
  });

  it('--now moves both at once, each when its jobs are done', async () => {
    const first = await begin();
    await update();
    const second = await current();
    const servers = [8188, 8189].map((tcpPort) => lab.machine.world.comfy.serve(urlOf(tcpPort)));
    servers[0]?.running.push('somebody');
    const operation = await lab.machine.core.agent.startOperation({ kind: 'rollback', atOnce: true });
    await lab.machine.until('gpu 1 has moved', () => runsFrom(1) === first);
    expect(runsFrom(0)).toBe(second);
    expect(lab.machine.instance(0).hold).toContain('1 job');
    servers[0]?.running.splice(0);
    expect(await lab.machine.finished(operation)).toMatchObject({ state: 'succeeded' });
    expect([runsFrom(0), runsFrom(1)]).toEqual([first, first]);
  });

  it('that cannot be written down changes nothing', async () => {
    await begin();
    await update();
    const second = await current();
    const heal = lab.machine.wires.fail('files.writeText', new AgentError('DISK_FULL', 'the disk is full'), LOCK);
    await expect(rollback()).rejects.toMatchObject({ code: 'DISK_FULL' });
    heal();
    await lab.machine.advance(60_000);
    expect(await current()).toBe(second);
    expect([runsFrom(0), runsFrom(1)]).toEqual([second, second]);
    expect(await intents()).toMatchObject({ rollout: null, pinnedRelease: null });
    expect(holds()).toEqual([]);
    expect(bothReady()).toBe(true);
  });

  it('during an installation that is being built gives that one', async () => {
    const first = await begin();
    await update();
    const held = lab.machine.wires.hold('python.create');
    const building = await beginUpdate();
    await lab.machine.advance(5_000);
    expect(await rollback()).toMatchObject({ id: building.id, kind: 'update' });
    expect(await current()).not.toBe(first);
    held.open();
    expect(await lab.machine.finished(building, LONG_MS)).toMatchObject({ state: 'succeeded' });
  });

  it('with a damaged lock goes back all the same', async () => {
    const first = await begin();
    await update();
    lab.machine.world.files.put(`/workspace/releases/${first}/agent.lock.json`, '{');
    expect(await lab.machine.finished(await rollback())).toMatchObject({ state: 'succeeded' });
    expect(await current()).toBe(first);
    expect(await lab.machine.world.files.readText(LOCK)).not.toBe('{');
  });

  it('to a release on which instances do not become ready stays there and says so', async () => {
    const first = await begin();
    await update();
    lab.machine.world.silent = (release) => release === first;
    const operation = await lab.machine.finished(await rollback(), 600_000);
    expect(operation).toMatchObject({
      state: 'failed',
      error: { code: 'INSTANCE_FAILED', message: expect.stringContaining(`release ${first} is in use, but`) },
    });
    expect(await current()).toBe(first);
    expect((await intents()).rollout).toBeNull();
  });
});
