import { afterEach, describe, expect, it } from 'vitest';
import type { Moves } from '../../../src/domain/installation/lock.ts';
import type { InstallProgress, PackStatus } from '../../../src/domain/installation/release.ts';
import { fakeCommitId } from '../../fakes/git.ts';
import { aRepository, COMFYUI, CORE_FILES, configNodes, packUrl, push } from '../../support/machine/fake-repositories.ts';
import { aGitMachine, currentRelease, type GitMachineOptions, install as installOn } from '../../support/machine/git-machine.ts';
import type { Machine } from '../../support/machine/machine.ts';

let machine: Machine;
afterEach(async () => {
  await machine.stop();
});

const lab = async (options?: GitMachineOptions): Promise<void> => {
  machine = await aGitMachine(options);
};
const install = (kind?: 'install' | 'reinstall') => installOn(machine, kind);
const update = async (moves: Partial<Moves>) => {
  await machine.advance(1_000);
  const request = { kind: 'update' as const, moves: { all: false, core: null, packs: {}, ...moves } };
  return machine.finished(await machine.core.agent.startOperation(request));
};
const current = () => currentRelease(machine);
const pack = async (name: string): Promise<PackStatus | undefined> => (await current())?.packs.find((each) => each.name === name);

describe('an installation', () => {
  it('takes its steps in order, and its progress only ever rises, up to one', async () => {
    await lab({ packs: { 'ComfyUI-One': 'numpy', 'ComfyUI-Two': null } });
    const seen: InstallProgress[] = [];
    const { id } = await machine.core.agent.startOperation({ kind: 'install' });
    const following = (async () => {
      for await (const { install: progress } of machine.core.operations.follow(id, new AbortController().signal))
        if (progress !== null) seen.push(progress);
    })();
    expect(await machine.finished(machine.core.operations.get(id))).toMatchObject({ state: 'succeeded', progress: 1 });
    await following;
    const steps = ['prepare', 'source', 'packs', 'resolve', 'environment', 'pack-setup', 'links', 'validate', 'activate'];
    expect([...new Set(seen.map(({ step }) => step))]).toEqual(steps);
    expect(machine.journal('install.step').map(({ data }) => data['step'])).toEqual(steps);
    for (const [index, { progress }] of seen.entries()) expect(progress).toBeGreaterThanOrEqual(seen[index - 1]?.progress ?? 0);
    const rollout = { name: 'rollout', state: 'skipped' };
    expect(seen.at(-1)).toMatchObject({ progress: 1, steps: [...steps.map((name) => ({ name, state: 'done' })), rollout] });
    expect(seen.some(({ bytes }) => bytes > 0)).toBe(true);
    const log = await machine.world.files.readText(seen.at(-1)?.logFile ?? '');
    const headings = log?.split('\n').filter((line) => line.startsWith('== ')) ?? [];
    expect(headings.filter((line) => !line.includes(' after '))).toEqual(steps.map((name) => `== ${name}`));
    const done = machine.journal('install.step-done');
    expect(headings.filter((line) => line.includes(' after '))).toEqual(done.map(({ message }) => `== ${message}`));
    expect(done.map(({ data }) => [data['step'], data['state']])).toEqual(steps.map((name) => [name, 'done']));
    expect(done[2]?.message).toMatch(/^packs done after \d+\.\d s, \d+ bytes received, 0 of 2 from the cache$/);
  });

  it('leaves a release that says what is in it', async () => {
    await lab({ packs: { 'ComfyUI-One': 'numpy' } });
    await install();
    expect(await current()).toMatchObject({
      source: { repository: COMFYUI, branch: 'main', commit: fakeCommitId('ComfyUI 1'), fallback: false },
      comfyuiVersion: '0.3.50',
      pythonVersion: '3.11.7',
      torch: '2.7.1',
      python: 'venv/bin/python',
      packs: [{ name: 'ComfyUI-One', state: 'loaded', commit: fakeCommitId('ComfyUI-One 1'), error: null }],
      packages: { aiohttp: '3.14.1', numpy: '2.2.0', requests: '2.32.0', pip: '25.0' },
      validated: { protocol: 'fork' },
    });
    const { files } = machine.world;
    expect(await files.readLink('/workspace/ComfyUI')).toBe('/workspace/current/ComfyUI');
    expect(await files.readLink('/workspace/current/ComfyUI/models')).toBe('/workspace/shared/models');
    expect(await files.readText('/workspace/shared/models/configs/v1.yaml')).toBe('model: 1');
    expect(machine.world.shell.running).toBe(0);
  });

  it('is not begun again when all is right already', async () => {
    await lab({ packs: { 'ComfyUI-One': null } });
    await install();
    const before = machine.world.files.tree('/workspace');
    const calls = machine.wires.changes.length;
    expect(await install()).toMatchObject({
      state: 'succeeded',
      message: expect.stringContaining('is already right; nothing to do') as string,
    });
    expect(machine.world.files.tree('/workspace')).toEqual(before);
    expect(machine.wires.changes.slice(calls).filter(({ name }) => !name.startsWith('files'))).toEqual([]);
  });

  it('takes away what a killed agent began, also when all is right already', async () => {
    await lab({ packs: { 'ComfyUI-One': null } });
    await install();
    const { files } = machine.world;
    files.put('/workspace/releases/20200101-000000-00000000/ComfyUI/main.py', '');
    expect(await install()).toMatchObject({ message: expect.stringContaining('already right') as string });
    expect(await files.exists('/workspace/releases/20200101-000000-00000000')).toBe(false);
    expect(await current()).not.toBeNull();
  });

  it('without a trial start when that is turned off, and then still reaches the end', async () => {
    await lab({ config: { install: { validate: false } } });
    const operation = await install();
    expect(operation.install).toMatchObject({ progress: 1 });
    expect(operation.install?.steps.find(({ name }) => name === 'validate')?.state).toBe('skipped');
    expect((await current())?.validated).toBeNull();
    expect(machine.world.shell.commands).toEqual([]);
  });

  it('keeps the commits it has when something else changes, and moves on an update', async () => {
    await lab({ packs: { 'ComfyUI-One': null, 'ComfyUI-Two': null }, nodes: configNodes('ComfyUI-One') });
    await install();
    const { repositories: remote, files } = machine.world;
    const core = push(remote[COMFYUI], 'ComfyUI', CORE_FILES);
    const moved = push(remote[packUrl('ComfyUI-One')], 'ComfyUI-One', { '__init__.py': '# 2' });
    files.put('/workspace/shared/config_nodes.json', configNodes('ComfyUI-One', 'ComfyUI-Two'));
    expect((await install()).state).toBe('succeeded');
    expect((await current())?.source.commit).toBe(fakeCommitId('ComfyUI 1'));
    expect((await pack('ComfyUI-One'))?.commit).toBe(fakeCommitId('ComfyUI-One 1'));
    expect((await pack('ComfyUI-Two'))?.state).toBe('loaded');
    await install('reinstall');
    expect((await current())?.source.commit).toBe(fakeCommitId('ComfyUI 1'));
    await update({ packs: { 'ComfyUI-One': null } });
    expect((await current())?.source.commit).toBe(fakeCommitId('ComfyUI 1'));
    expect((await pack('ComfyUI-One'))?.commit).toBe(moved);
    await update({ core: { ref: null } });
    expect((await current())?.source.commit).toBe(core);
    expect((await pack('ComfyUI-One'))?.commit).toBe(moved);
  });

  it('moves a pack whose entry changed', async () => {
    await lab({ packs: { 'ComfyUI-One': null } });
    await install();
    const { repositories: remote, files } = machine.world;
    push(remote[packUrl('ComfyUI-One')], 'ComfyUI-One', { '__init__.py': '# 2' });
    files.put('/workspace/shared/config_nodes.json', configNodes({ name: 'ComfyUI-One', branch: 'main' }));
    await install();
    expect((await pack('ComfyUI-One'))?.commit).toBe(fakeCommitId('ComfyUI-One 2'));
  });

  it('takes the fallback repository only when the first cannot be reached, and says so', async () => {
    const mirror = 'https://mirror.example.com/ComfyUI.git';
    await lab({
      config: { comfyui: { repository: COMFYUI, branch: 'main', fallbackRepository: mirror } },
      prepare: (world) => {
        world.repositories[mirror] = aRepository('mirror', CORE_FILES);
        delete world.repositories[COMFYUI];
      },
    });
    await install();
    expect((await current())?.source).toMatchObject({
      repository: mirror,
      commit: fakeCommitId('mirror 1'),
      fallback: true,
      fallbackReason: expect.stringContaining('there is no git repository') as string,
    });
    await machine.step();
    expect(machine.core.documents().installation).toMatchObject({ status: 'degraded', ok: true });
  });

  it('does not take the fallback for a branch that does not exist', async () => {
    const mirror = 'https://mirror.example.com/ComfyUI.git';
    await lab({
      config: { comfyui: { repository: COMFYUI, branch: 'nowhere', fallbackRepository: mirror } },
      prepare: (world) => {
        world.repositories[mirror] = aRepository('mirror', CORE_FILES);
      },
    });
    expect(await install()).toMatchObject({ state: 'failed', error: { code: 'BRANCH_NOT_FOUND' } });
  });
});
