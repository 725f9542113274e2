import { beforeEach, describe, expect, it } from 'vitest';
import { Config } from '../../../src/domain/configuration/config.ts';
import type { LockedSource } from '../../../src/domain/installation/lock.ts';
import type { PackSpec } from '../../../src/domain/installation/release.ts';
import type { InstallContext } from '../../../src/engine/installation/context.ts';
import { fetchPacks } from '../../../src/engine/installation/packs/packs.ts';
import { InstallTracker } from '../../../src/engine/installation/progress.ts';
import { NO_MOVES } from '../../../src/plan/installation/lock.ts';
import { fakeArchiveDigest } from '../../fakes/sources.ts';
import { packUrl, push, repositories } from '../../support/machine/fake-repositories.ts';
import { createWorld, type World } from '../../support/machine/world.ts';

const ARCHIVE = 'https://cdn.example.org/one.zip';
const TREE = { '__init__.py': '' };
const aPack = (change: Partial<PackSpec> = {}): PackSpec => ({
  name: 'One',
  url: packUrl('One'),
  branch: null,
  commit: null,
  recursive: true,
  requirements: false,
  env: {},
  customScript: null,
  ...change,
});

/** What the lock names for a pack is what is installed, or nothing is. */
describe('pins', () => {
  let world: World;
  beforeEach(async () => {
    world = await createWorld({ repositories: repositories({ One: null, Sub: null }) });
  });
  const fetch = async (pack: PackSpec, pin: LockedSource) => {
    const tracker = new InstallTracker({
      clock: world.clock,
      releaseId: 'r',
      logFile: '/l',
      packs: [pack],
      onChange: () => {},
      writeLog: () => {},
    });
    await fetchPacks({
      ports: world.ports(),
      config: Config.parse({}),
      layout: { shared: '/shared' },
      secrets: { environment: {} },
      spec: { packs: [pack] },
      directory: '/release',
      previous: null,
      moves: NO_MOVES,
      pins: { core: null, packs: new Map([[pack.name, pin]]), python: null, preferences: [], answer: null, quarantined: new Map() },
      tracker,
      signal: new AbortController().signal,
    } as unknown as InstallContext);
    return tracker.progress.packs[0];
  };
  const git = (commit: string, submodules: { path: string; url: string; commit: string }[] = []): LockedSource => ({
    kind: 'git',
    url: packUrl('One'),
    branch: 'main',
    commit,
    commitDate: null,
    submodules,
  });

  it('a commit is kept although the branch moved on', async () => {
    const old = world.repositories[packUrl('One')]?.branches['main'] ?? '';
    push(world.repositories[packUrl('One')], 'One', TREE);
    expect(await fetch(aPack(), git(old))).toMatchObject({ state: 'fetched', commit: old, source: { commit: old } });
  });

  it('a submodule that differs, is missing or is too many fails the pack', async () => {
    const repository = world.repositories[packUrl('One')];
    const sub = world.repositories[packUrl('Sub')]?.branches['main'] ?? '';
    const commit = push(repository, 'One', TREE);
    if (repository) repository.commits[commit] = { files: TREE, submodules: { sub: { url: packUrl('Sub'), commit: sub } } };
    const locked = { path: 'sub', url: packUrl('Sub'), commit: sub };
    expect(await fetch(aPack(), git(commit, [locked]))).toMatchObject({ state: 'fetched', source: { submodules: [locked] } });
    for (const submodules of [[], [{ ...locked, commit: 'f'.repeat(40) }], [locked, { ...locked, path: 'more' }]]) {
      await world.files.remove('/release');
      expect(await fetch(aPack(), git(commit, submodules))).toMatchObject({
        state: 'failed',
        error: expect.stringMatching(/submodule (sub|more)/),
      });
      expect(await world.files.exists('/release/ComfyUI/custom_nodes/One')).toBe(false);
    }
  });

  it('an archive of another digest, a directory of other files and another kind of source fail the pack', async () => {
    world.archives[ARCHIVE] = TREE;
    world.files.put('/shared/mine/__init__.py', '1');
    const sha256 = fakeArchiveDigest(TREE);
    const archive = aPack({ url: ARCHIVE, source: { kind: 'archive', url: ARCHIVE, sha256: null } });
    const registry = aPack({ url: 'registry:one', source: { kind: 'registry', id: 'one', version: null } });
    const directory = aPack({ url: 'mine', source: { kind: 'directory', path: 'mine' } });
    const pin = (digest: string): LockedSource => ({ kind: 'archive', url: ARCHIVE, version: '1.0.0', sha256: digest });
    expect(await fetch(archive, pin('f'.repeat(64)))).toMatchObject({
      state: 'failed',
      error: expect.stringMatching(/f{64}; .*agent update/),
    });
    // A pinned version of the registry needs no registry.
    expect(await fetch(registry, pin(sha256))).toMatchObject({ state: 'fetched', source: { version: '1.0.0', sha256 } });
    const mine: LockedSource = { kind: 'directory', path: 'mine', sha256: 'f'.repeat(64) };
    await world.files.remove('/release');
    expect(await fetch(directory, mine)).toMatchObject({ state: 'failed', error: expect.stringMatching(/f{64}/) });
    expect(await fetch(directory, pin(sha256))).toMatchObject({ state: 'failed', error: expect.stringMatching(/kind archive/) });
  });
});
