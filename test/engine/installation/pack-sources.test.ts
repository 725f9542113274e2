import { afterEach, describe, expect, it } from 'vitest';
import type { PackStatus } from '../../../src/domain/installation/release.ts';
import { fakeArchiveDigest } from '../../fakes/sources.ts';
import { packUrl, push } from '../../support/machine/fake-repositories.ts';
import { aGitMachine, currentRelease, type GitMachineOptions, install as installOn } from '../../support/machine/git-machine.ts';
import type { Machine } from '../../support/machine/machine.ts';
import type { World } from '../../support/machine/world.ts';

let machine: Machine;
afterEach(async () => {
  await machine.stop();
});
const lab = async (entries: readonly object[], options: Partial<GitMachineOptions> = {}): Promise<void> => {
  machine = await aGitMachine({ nodes: JSON.stringify({ custom_nodes: entries }), ...options });
};
const pack = async (name: string): Promise<PackStatus | undefined> =>
  (await currentRelease(machine))?.packs.find((each) => each.name === name);
const file = (path: string) => machine.world.files.readText(`/workspace/current/ComfyUI/custom_nodes/${path}`);
const TREE = { '__init__.py': 'NODES = {}', 'requirements.txt': 'numpy\n' };
const ARCHIVE = 'https://cdn.example.org/one.zip';
const put = (world: World): void => {
  world.archives[ARCHIVE] = TREE;
};
const variable = (name: string): string => `\${${name}}`;
const registered =
  (status: string, statusReason: string | null = null) =>
  (world: World) => {
    put(world);
    world.registry['one'] = [{ version: '1.2.3', url: ARCHIVE, status, statusReason }];
  };

describe('packs that do not come from git', () => {
  it('archive, registry and directory are installed, and their source is told exactly', async () => {
    await lab(
      [
        { name: 'A', archive: ARCHIVE },
        { name: 'R', registry: 'one' },
        { name: 'D', directory: 'packs/d' },
      ],
      {
        prepare: (world) => {
          registered('active')(world);
          world.files.put('/workspace/shared/packs/d/__init__.py', 'D = 1');
        },
      },
    );
    expect(await installOn(machine)).toMatchObject({ state: 'succeeded' });
    const sha256 = fakeArchiveDigest(TREE);
    expect(await pack('A')).toMatchObject({
      state: 'loaded',
      commit: null,
      source: { kind: 'archive', url: ARCHIVE, version: null, sha256 },
    });
    expect(await pack('R')).toMatchObject({
      state: 'loaded',
      url: 'registry:one',
      source: { kind: 'archive', url: ARCHIVE, version: '1.2.3', sha256 },
    });
    expect(await pack('D')).toMatchObject({
      state: 'loaded',
      source: { kind: 'directory', path: 'packs/d', sha256: expect.stringMatching(/^[0-9a-f]{64}$/) },
    });
    expect(await file('D/__init__.py')).toBe('D = 1');
    expect((await currentRelease(machine))?.packages).toMatchObject({ numpy: '2.2.0' });

    // What is changed by hand in them is found, as in a checkout.
    await machine.core.surveys.models();
    expect(await machine.core.agent.drift()).toMatchObject({ drift: [], compared: { sources: 4 } });
    machine.world.files.put(`${await machine.world.files.readLink('/workspace/current')}/ComfyUI/custom_nodes/D/__init__.py`, 'D = 2');
    expect((await machine.core.agent.drift()).drift).toMatchObject([{ part: 'pack', name: 'D', message: 'changed by hand: __init__.py' }]);
  });

  it('git packs tell theirs too, with submodules', async () => {
    await lab([{ name: 'One', url: packUrl('One'), recursive: true }], { packs: { One: null, Sub: null } });
    const sub = machine.world.repositories[packUrl('Sub')]?.branches['main'] ?? '';
    const repository = machine.world.repositories[packUrl('One')];
    const commit = push(repository, 'One', TREE);
    if (repository) repository.commits[commit] = { files: TREE, submodules: { 'libs/sub': { url: packUrl('Sub'), commit: sub } } };
    await installOn(machine);
    expect((await pack('One'))?.source).toEqual({
      kind: 'git',
      url: packUrl('One'),
      branch: 'main',
      commit,
      commitDate: '2026-11-20T10:00:00.000Z',
      submodules: [{ path: 'libs/sub', url: packUrl('Sub'), commit: sub }],
    });
  });

  it('an archive that is not the one named fails, with both digests', async () => {
    await lab([{ name: 'A', archive: ARCHIVE, sha256: 'f'.repeat(64) }], { prepare: put });
    await installOn(machine);
    expect(await pack('A')).toMatchObject({
      state: 'failed',
      source: null,
      error: expect.stringMatching(new RegExp(`${fakeArchiveDigest(TREE)} in place of ${'f'.repeat(64)}`)),
    });
  });

  it('a registry pack stays at its version and digest until an update asks for a newer one', async () => {
    await lab([{ name: 'R', registry: 'one' }], { prepare: registered('active') });
    await installOn(machine);
    const newer = { ...TREE, 'new.py': '' };
    machine.world.archives['https://cdn.example.org/two.zip'] = newer;
    machine.world.registry['one'] = [
      ...(machine.world.registry['one'] ?? []),
      { version: '2.0.0', url: 'https://cdn.example.org/two.zip', status: 'active', statusReason: null },
    ];
    machine.world.files.put(
      '/workspace/shared/config_nodes.json',
      JSON.stringify({
        custom_nodes: [
          { name: 'R', registry: 'one' },
          { name: 'A', archive: ARCHIVE },
        ],
      }),
    );
    await installOn(machine);
    expect(await pack('R')).toMatchObject({ source: { version: '1.2.3' } });
    await installOn(machine, 'reinstall');
    expect(await pack('R')).toMatchObject({ source: { version: '1.2.3' } });
    await machine.advance(1_000);
    const moves = { all: false, core: null, packs: { R: null } };
    await machine.finished(await machine.core.agent.startOperation({ kind: 'update', moves }));
    expect(await pack('R')).toMatchObject({ source: { version: '2.0.0', sha256: fakeArchiveDigest(newer) } });
  });

  it.each(['flagged', 'banned', 'deleted'])('a %s version is refused, unless that is waived with a reason', async (status) => {
    await lab([{ name: 'R', registry: 'one', version: '1.2.3' }], { prepare: registered(status, 'phones home') });
    await installOn(machine);
    expect(await pack('R')).toMatchObject({
      state: 'failed',
      error: expect.stringMatching(new RegExp(`its status is ${status} \\(phones home\\), says Comfy Registry; .*packs\\.waivers`)),
    });
    await machine.stop();
    await lab([{ name: 'R', registry: 'one', version: '1.2.3' }], {
      prepare: registered(status),
      config: { packs: { waivers: [{ pack: 'R', reason: 'false alarm' }] } },
    });
    await installOn(machine);
    expect(await pack('R')).toMatchObject({
      state: 'loaded',
      warnings: [expect.stringMatching(/taken all the same, because: false alarm/)],
    });
  });

  it('known malware is not even fetched', async () => {
    await lab([{ name: 'ComfyUI_LLMVISION', url: packUrl('ComfyUI_LLMVISION') }], { packs: { ComfyUI_LLMVISION: null } });
    const asked: string[] = [];
    machine.world.beforeGit = (_operation, { url }) => void asked.push(url);
    await installOn(machine);
    expect(await pack('ComfyUI_LLMVISION')).toMatchObject({ state: 'failed', error: expect.stringMatching(/is refused: it steals/) });
    expect(asked).not.toContain(packUrl('ComfyUI_LLMVISION'));
  });

  it('credentials in variables reach the server and no document', async () => {
    const secret = 's3cret/t0ken';
    await lab([{ name: 'A', archive: `https://${variable('ARCHIVE_USER')}:${variable('ARCHIVE_TOKEN')}@cdn.example.org/one.zip` }], {
      prepare: (world) => {
        world.archives[`https://robot:${encodeURIComponent(secret)}@cdn.example.org/one.zip`] = TREE;
      },
      environment: { ARCHIVE_TOKEN: secret, ARCHIVE_USER: 'robot' },
    });
    await installOn(machine);
    expect(await pack('A')).toMatchObject({ state: 'loaded', source: { url: ARCHIVE } });
    expect(JSON.stringify(await currentRelease(machine))).not.toMatch(/s3cret/);
  });

  it('what such a pack writes into its folder is kept for the next release', async () => {
    await lab([{ name: 'A', archive: ARCHIVE }], { prepare: put });
    await installOn(machine);
    machine.world.files.put(`${await machine.world.files.readLink('/workspace/current')}/ComfyUI/custom_nodes/A/state.db`, 'mine');
    await installOn(machine, 'reinstall');
    expect(await file('A/state.db')).toBe('mine');
  });
});
