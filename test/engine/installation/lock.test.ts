import { afterEach, describe, expect, it } from 'vitest';
import type { Lock } from '../../../src/domain/installation/lock.ts';
import type { OperationRequest } from '../../../src/domain/operation.ts';
import { digestOf } from '../../../src/domain/text/digest.ts';
import { parseLock } from '../../../src/plan/installation/lock.ts';
import { fakeCommitId } from '../../fakes/git.ts';
import { COMFYUI, CORE_FILES, configNodes, packUrl, push } from '../../support/machine/fake-repositories.ts';
import { aGitMachine, currentRelease, type GitMachineOptions } from '../../support/machine/git-machine.ts';
import type { Machine } from '../../support/machine/machine.ts';

const LOCK = '/workspace/agent.lock.json';
let machine: Machine;
afterEach(async () => {
  await machine.stop();
});

const lab = async (options?: GitMachineOptions): Promise<void> => {
  machine = await aGitMachine(options);
};
const ask = async (request: OperationRequest) => {
  // Releases are named by the second.
  await machine.advance(1_000);
  return machine.finished(await machine.core.agent.startOperation(request));
};
const update = (moves: Partial<NonNullable<OperationRequest['moves']>>, more: Partial<OperationRequest> = {}) =>
  ask({ kind: 'update', moves: { all: false, core: null, packs: {}, ...moves }, ...more });
const lock = async (): Promise<Lock> => parseLock((await machine.world.files.readText(LOCK)) ?? '', LOCK);
const packagesOf = async () => Object.fromEntries((await lock()).python.packages.map(({ name, version }) => [name, version]));

describe('agent.lock.json', () => {
  it('is written by an installation, names everything, and lies in the release too', async () => {
    await lab({ packs: { 'ComfyUI-One': 'numpy' } });
    await ask({ kind: 'install' });
    const written = await lock();
    expect(written).toMatchObject({
      schema: 1,
      core: { source: { kind: 'git', url: COMFYUI, branch: 'main', commit: fakeCommitId('ComfyUI 1') }, comfyuiVersion: '0.3.50' },
      packs: [{ name: 'ComfyUI-One', source: { kind: 'git', commit: fakeCommitId('ComfyUI-One 1') }, quarantined: null }],
      python: { version: '3.11.7', platform: 'linux-x86_64' },
    });
    expect(await packagesOf()).toMatchObject({ aiohttp: '3.14.1', numpy: '2.2.0' });
    const release = await currentRelease(machine);
    expect(release?.lockDigest).toBe(digestOf(written));
    expect(await machine.world.files.readText('/workspace/current/agent.lock.json')).toBe(await machine.world.files.readText(LOCK));
  });

  it('is obeyed to the letter: nothing is resolved, and the same lock comes out', async () => {
    await lab({ packs: { 'ComfyUI-One': 'numpy' } });
    await ask({ kind: 'install' });
    const before = await machine.world.files.readText(LOCK);
    push(machine.world.repositories[COMFYUI], 'ComfyUI', CORE_FILES);
    push(machine.world.repositories[packUrl('ComfyUI-One')], 'ComfyUI-One', { '__init__.py': '# 2' });
    const resolutions = machine.world.python.calls.filter((call) => call.startsWith('resolve')).length;
    expect(await ask({ kind: 'reinstall', locked: true })).toMatchObject({ state: 'succeeded', install: { difference: [] } });
    expect(machine.world.python.calls.filter((call) => call.startsWith('resolve'))).toHaveLength(resolutions);
    expect(await machine.world.files.readText(LOCK)).toBe(before);
  });

  it('that names other versions asks for a new release, and that is built by it', async () => {
    await lab({ packs: { 'ComfyUI-One': null } });
    await ask({ kind: 'install' });
    const first = await lock();
    const moved = push(machine.world.repositories[packUrl('ComfyUI-One')], 'ComfyUI-One', { '__init__.py': '# 2' });
    const [pack] = first.packs;
    if (pack?.source.kind !== 'git') throw new Error('no git source');
    const edited: Lock = { ...first, packs: [{ ...pack, source: { ...pack.source, commit: moved } }] };
    machine.world.files.put(LOCK, JSON.stringify(edited));
    await machine.core.refreshInputs();
    await machine.core.reconciler.trigger();
    expect((await machine.core.agent.plan()).holds).toMatchObject([
      { code: 'INSTALLATION_DIFFERS', reason: 'agent.lock.json names other versions than the release in place' },
    ]);
    expect((await ask({ kind: 'install' })).state).toBe('succeeded');
    expect((await currentRelease(machine))?.packs[0]?.commit).toBe(moved);
  });

  it('that the configuration no longer fits is refused with --locked, line by line, and renewed without', async () => {
    await lab({ packs: { 'ComfyUI-One': null, 'ComfyUI-Two': null }, nodes: configNodes('ComfyUI-One') });
    expect(await ask({ kind: 'install', locked: true })).toMatchObject({ state: 'failed', error: { code: 'LOCK_DIFFERS' } });
    await ask({ kind: 'install' });
    machine.world.files.put('/workspace/shared/config_nodes.json', configNodes('ComfyUI-Two'));
    const refused = await ask({ kind: 'install', locked: true });
    expect(refused.error).toMatchObject({
      code: 'LOCK_DIFFERS',
      message: expect.stringMatching(/ComfyUI-Two is not in the lock; ComfyUI-One is in the lock and no longer asked for/),
    });
    const renewed = await ask({ kind: 'install' });
    expect(renewed.install?.difference).toMatchObject([
      { part: 'pack', name: 'ComfyUI-One', change: 'removed' },
      { part: 'pack', name: 'ComfyUI-Two', change: 'added' },
    ]);
    expect((await lock()).packs.map(({ name }) => name)).toEqual(['ComfyUI-Two']);
  });

  it('that cannot be read keeps what is there and is a hold that names the place', async () => {
    await lab();
    await ask({ kind: 'install' });
    const release = await currentRelease(machine);
    machine.world.files.put(LOCK, '{"schema": 1, "packs": 7}');
    expect(await ask({ kind: 'reinstall' })).toMatchObject({ state: 'failed', error: { code: 'LOCK_INVALID' } });
    expect(await currentRelease(machine)).toEqual(release);
  });

  it('that is lost is found in the release in place', async () => {
    await lab({ packs: { 'ComfyUI-One': null } });
    await ask({ kind: 'install' });
    await machine.world.files.remove(LOCK);
    push(machine.world.repositories[packUrl('ComfyUI-One')], 'ComfyUI-One', { '__init__.py': '# 2' });
    await ask({ kind: 'reinstall' });
    expect((await currentRelease(machine))?.packs[0]?.commit).toBe(fakeCommitId('ComfyUI-One 1'));
  });

  it('keeps the pin of a pack that cannot be reached for now', async () => {
    await lab({ packs: { 'ComfyUI-One': null } });
    await ask({ kind: 'install' });
    const before = await lock();
    machine.world.beforeGit = (_, { url }) => {
      if (url === packUrl('ComfyUI-One')) throw new Error('the network is down');
    };
    await ask({ kind: 'reinstall' });
    expect((await currentRelease(machine))?.packs[0]?.state).toBe('failed');
    expect(await lock()).toEqual(before);
  });
});

describe('agent update', () => {
  it('moves what it is told to move and nothing else, and tells the difference first', async () => {
    await lab({ packs: { 'ComfyUI-One': null, 'ComfyUI-Two': null } });
    await ask({ kind: 'install' });
    const core = push(machine.world.repositories[COMFYUI], 'ComfyUI', CORE_FILES);
    const one = push(machine.world.repositories[packUrl('ComfyUI-One')], 'ComfyUI-One', { '__init__.py': '# 2' });
    const two = push(machine.world.repositories[packUrl('ComfyUI-Two')], 'ComfyUI-Two', { '__init__.py': '# 2' });
    const commits = async () => {
      const release = await currentRelease(machine);
      return [release?.source.commit, ...(release?.packs ?? []).map(({ commit }) => commit)];
    };
    const first = await update({ packs: { 'ComfyUI-One': null } });
    expect(first.install?.difference).toMatchObject([{ part: 'pack', name: 'ComfyUI-One', change: 'changed' }]);
    expect(await commits()).toEqual([fakeCommitId('ComfyUI 1'), one, fakeCommitId('ComfyUI-Two 1')]);
    await update({ all: true });
    expect(await commits()).toEqual([core, one, two]);
  });

  it('to a ref of the operator, which then stays', async () => {
    await lab({ packs: { 'ComfyUI-One': null } });
    await ask({ kind: 'install' });
    push(machine.world.repositories[packUrl('ComfyUI-One')], 'ComfyUI-One', { '__init__.py': '# 2' });
    const first = fakeCommitId('ComfyUI-One 1');
    await update({ all: true });
    expect((await currentRelease(machine))?.packs[0]?.commit).not.toBe(first);
    await update({ packs: { 'ComfyUI-One': first } });
    expect((await currentRelease(machine))?.packs[0]?.commit).toBe(first);
    await ask({ kind: 'reinstall' });
    expect((await currentRelease(machine))?.packs[0]?.commit).toBe(first);
  });

  it('with nothing newer builds nothing', async () => {
    await lab({ packs: { 'ComfyUI-One': null } });
    await ask({ kind: 'install' });
    const release = await currentRelease(machine);
    const operation = await update({ all: true });
    expect(operation).toMatchObject({ state: 'succeeded', message: expect.stringContaining('newest already') });
    expect(await currentRelease(machine)).toEqual(release);
    expect(await machine.world.files.list('/workspace/releases')).toEqual([release?.id]);
  });

  it('--dry-run tells the difference and leaves everything as it was', async () => {
    await lab({ packs: { 'ComfyUI-One': null } });
    await ask({ kind: 'install' });
    push(machine.world.repositories[COMFYUI], 'ComfyUI', CORE_FILES);
    const before = [await machine.world.files.readText(LOCK), await machine.world.files.list('/workspace/releases')];
    const operation = await update({ all: true }, { dryRun: true });
    expect(operation).toMatchObject({ state: 'succeeded', install: { difference: [{ part: 'core', change: 'changed' }] } });
    expect([await machine.world.files.readText(LOCK), await machine.world.files.list('/workspace/releases')]).toEqual(before);
  });

  it('refuses what it does not know', async () => {
    await lab({ packs: { 'ComfyUI-One': null } });
    await ask({ kind: 'install' });
    expect(await update({ packs: { 'ComfyUI-Won': null } })).toMatchObject({
      state: 'failed',
      error: { code: 'USAGE', message: 'there is no node pack ComfyUI-Won to update', help: 'asked for are ComfyUI-One' },
    });
    await expect(machine.core.agent.startOperation({ kind: 'update' })).rejects.toMatchObject({ code: 'REQUEST_INVALID' });
  });
});

describe('agent install --verify', () => {
  it('finds what was changed by hand in the release in place, and touches nothing', async () => {
    await lab({ packs: { 'ComfyUI-One': 'numpy' } });
    await expect(machine.core.agent.drift()).rejects.toMatchObject({ code: 'HELD' });
    await ask({ kind: 'install' });
    await machine.core.surveys.models();
    expect(await machine.core.agent.drift()).toMatchObject({ ok: true, drift: [], compared: { sources: 2 } });
    const { files, python } = machine.world;
    const current = await files.readLink('/workspace/current');
    files.put(`${current}/ComfyUI/custom_nodes/ComfyUI-One/__init__.py`, '# mine');
    await python.install({
      python: `${current}/venv/bin/python`,
      pins: [{ name: 'numpy', version: '1.26.4', url: null, hashes: [], addedBy: null }],
      indexUrl: null,
      extraIndexUrls: [],
      findLinks: [],
      constraints: [],
      torchBackend: null,
    });
    const before = files.tree('/workspace');
    expect(await machine.core.agent.drift()).toMatchObject({
      ok: false,
      drift: [
        { part: 'pack', name: 'ComfyUI-One', message: 'changed by hand: __init__.py' },
        { part: 'package', name: 'numpy', message: 'it is 1.26.4, locked is 2.2.0' },
      ],
    });
    expect(files.tree('/workspace')).toEqual(before);
  });

  it('tells where a checkout says it stands, and which copies in the release are not what the agent wrote', async () => {
    await lab({ packs: { 'ComfyUI-One': null } });
    await ask({ kind: 'install' });
    await machine.core.surveys.models();
    const { files } = machine.world;
    const current = (await files.readLink('/workspace/current')) ?? '';
    files.put(`${current}/ComfyUI/custom_nodes/ComfyUI-One/.git/HEAD`, `${'b'.repeat(40)}\n`);
    files.put(`${current}/release.json`, '{"id":"stolen"}');
    await files.remove(`${current}/agent.lock.json`);
    expect((await machine.core.agent.drift()).drift).toEqual([
      { part: 'pack', name: 'ComfyUI-One', message: expect.stringMatching(/^it is at bbbbbbbbbb, locked is /) as string },
      { part: 'core', name: 'release.json', message: expect.stringContaining('the agent goes by its own record') as string },
      { part: 'core', name: 'agent.lock.json', message: expect.stringContaining('changed by hand in release') as string },
    ]);
  });

  it('takes what scripts of packs changed while the release was built for what it is', async () => {
    await lab({
      packs: { 'ComfyUI-One': null },
      nodes: configNodes({ name: 'ComfyUI-One', custom_script: 'mv SCRIPTS/* .' }),
      prepare: (world) => {
        push(world.repositories[packUrl('ComfyUI-One')], 'ComfyUI-One', {
          '__init__.py': '1',
          'SCRIPTS/tool.sh': 'echo',
          'README.md': 'a',
        });
        world.shell.onRun(async ({ file, options: { cwd } }) => {
          if (file !== 'bash') return {};
          await world.files.remove(`${cwd}/SCRIPTS`);
          world.files.put(`${cwd}/README.md`, 'b');
          return {};
        });
      },
    });
    await ask({ kind: 'install' });
    await machine.core.surveys.models();
    expect(await machine.core.agent.drift()).toMatchObject({ ok: true, drift: [] });
    const { files } = machine.world;
    const pack = `${await files.readLink('/workspace/current')}/ComfyUI/custom_nodes/ComfyUI-One`;
    files.put(`${pack}/README.md`, 'c');
    expect(await machine.core.agent.drift()).toMatchObject({ drift: [{ name: 'ComfyUI-One', message: 'changed by hand: README.md' }] });
    files.put(`${pack}/README.md`, 'b');
    files.put(`${pack}/SCRIPTS/tool.sh`, 'mine');
    expect(await machine.core.agent.drift()).toMatchObject({
      drift: [{ name: 'ComfyUI-One', message: 'changed by hand: SCRIPTS/tool.sh' }],
    });
  });
});
