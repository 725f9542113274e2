import { afterEach, describe, expect, it } from 'vitest';
import type { OperationRequest } from '../../../src/domain/operation.ts';
import { digestOf } from '../../../src/domain/text/digest.ts';
import { fakeCommitId } from '../../fakes/git.ts';
import { COMFYUI } from '../../support/machine/fake-repositories.ts';
import { aGitMachine, currentRelease, type GitMachineOptions } from '../../support/machine/git-machine.ts';
import { aMachine, type Machine } from '../../support/machine/machine.ts';
import { createWorld } from '../../support/machine/world.ts';

const FILE = '/media/one.tar';
const NODES = '/workspace/shared/config_nodes.json';
const LOCK = '/workspace/agent.lock.json';
const machines: Machine[] = [];
afterEach(async () => {
  for (const machine of machines.splice(0)) await machine.stop();
});

const ask = async (machine: Machine, request: OperationRequest) => {
  // Releases are named by the second.
  await machine.advance(1_000);
  return machine.finished(await machine.core.agent.startOperation(request));
};
const text = (machine: Machine, path: string) => machine.world.files.readText(path);

/** A machine with a release, and a bundle of it. */
async function source(
  options: GitMachineOptions = { packs: { 'ComfyUI-One': 'numpy' } },
  request: Partial<OperationRequest> = {},
): Promise<Machine> {
  const machine = await aGitMachine(options);
  machines.push(machine);
  machine.world.files.put('/media/there', '');
  expect(await ask(machine, { kind: 'install' })).toMatchObject({ state: 'succeeded' });
  expect(await ask(machine, { kind: 'bundle', bundle: FILE, ...request })).toMatchObject({
    state: 'succeeded',
    message: expect.stringContaining(FILE),
  });
  return machine;
}

/** A machine that reaches nothing: no repositories, no index. */
async function target(bundle: string | null, config: GitMachineOptions['config'] = {}, nodes?: string): Promise<Machine> {
  const world = await createWorld();
  if (bundle !== null) world.files.put(FILE, bundle);
  if (nodes !== undefined) world.files.put(NODES, nodes);
  const machine = await aMachine({ world, config: { ...config, comfyui: { repository: COMFYUI, ...config.comfyui } } });
  machines.push(machine);
  return machine;
}
type Members = [name: string, content: string][];
const edited = (bundle: string, change: (members: Members) => void): string => {
  const members = JSON.parse(bundle) as Members;
  change(members);
  return JSON.stringify(members);
};

describe('an offline bundle', () => {
  it('holds everything that the lock names, first the manifest', async () => {
    const machine = await source();
    const members = JSON.parse((await text(machine, FILE)) ?? '') as Members;
    const manifest = JSON.parse(members[0]?.[1] ?? '') as {
      lockDigest: string;
      members: { name: string; kind: string }[];
      notIncluded: { what: string }[];
    };
    expect(members.map(([name]) => name)).toEqual(['manifest.json', ...manifest.members.map(({ name }) => name)]);
    expect(manifest.lockDigest).toBe(digestOf(JSON.parse((await text(machine, LOCK)) ?? '')));
    const kinds = manifest.members.map(({ kind }) => kind);
    expect(kinds.slice(0, 4)).toEqual(['lock', 'nodes', 'repository', 'repository']);
    expect(kinds.filter((kind) => kind === 'wheel').length).toBeGreaterThan(2);
    expect(kinds.at(-1)).toBe('uv');
    expect(manifest.notIncluded.map(({ what }) => what)).toEqual(['Python 3.11.7']);
    expect(machine.world.files.tree('/workspace/cache').filter((path) => path.includes('bundle-'))).toEqual([]);
  });

  it('installs on a machine without a network: the same lock, the same commits, the same packages', async () => {
    const from = await source();
    const to = await target(await text(from, FILE));
    expect(await ask(to, { kind: 'install', bundle: FILE })).toMatchObject({ state: 'succeeded', error: null });
    expect(await text(to, LOCK)).toBe(await text(from, LOCK));
    expect(await text(to, NODES)).toBe(await text(from, NODES));
    const [one, two] = [await currentRelease(from), await currentRelease(to)];
    expect(two?.packages).toEqual(one?.packages);
    expect(two?.packs).toMatchObject([{ name: 'ComfyUI-One', commit: fakeCommitId('ComfyUI-One 1'), state: 'loaded' }]);
    expect(to.world.python.calls.filter((call) => call.startsWith('resolve'))).toEqual([]);
    expect(to.world.files.tree('/workspace/cache').filter((path) => path.includes('bundle-'))).toEqual([]);
    expect(await ask(to, { kind: 'install', bundle: FILE })).toMatchObject({ message: expect.stringContaining('nothing to do') });
  });

  it('with a member that was changed is refused by name, and nothing is changed', async () => {
    const from = await source();
    const bundle = edited((await text(from, FILE)) ?? '', (members) => {
      const last = members.at(-1);
      if (last !== undefined) last[1] = last[1].toUpperCase();
    });
    const to = await target(bundle);
    const before = to.world.files.tree('/workspace');
    expect(await ask(to, { kind: 'install', bundle: FILE })).toMatchObject({
      state: 'failed',
      error: { code: 'BUNDLE_INVALID', message: expect.stringMatching(/uv\/uv\.whl has sha256/) },
    });
    const after = to.world.files.tree('/workspace').filter((path) => !before.includes(path));
    expect(after.filter((path) => !/^(?:run|state)\/|^cache\/tmp\/$/.test(path))).toEqual([]);
    expect(await currentRelease(to)).toBeNull();
    expect(to.core.knowledge.intents.installation).toBeNull();
  });

  it('that the disk has no room for is not begun', async () => {
    const to = await target(await text(await source(), FILE));
    to.world.files.freeDiskBytes = 1024 * 1024;
    expect(await ask(to, { kind: 'install', bundle: FILE })).toMatchObject({
      state: 'failed',
      error: { code: 'DISK_FULL', message: expect.stringContaining('takes up to twice that') },
    });
  });

  it('that is not there is told', async () => {
    const to = await target(null);
    expect((await ask(to, { kind: 'install', bundle: FILE })).error).toMatchObject({ code: 'FILE_UNREADABLE' });
  });

  it('for another configuration is refused with what differs', async () => {
    const bundle = await text(await source(), FILE);
    const to = await target(bundle, { comfyui: { branch: 'dev' }, python: { torch: 'cu126' } });
    const { error } = await ask(to, { kind: 'install', bundle: FILE });
    expect(error).toMatchObject({ code: 'LOCK_DIFFERS' });
    expect(error?.message).toMatch(/comfyui\.branch: .* in the bundle, dev here; .*python\.torch: auto in the bundle, cu126 here/);
    expect(await text(to, NODES)).toBeNull();
    const other = await target(bundle, {}, JSON.stringify({ custom_nodes: [] }));
    expect((await ask(other, { kind: 'install', bundle: FILE })).error?.message).toContain(
      'node pack ComfyUI-One: in the bundle, not asked for here',
    );
  });

  it('for another kind of machine is refused before anything is taken in', async () => {
    const to = await target(await text(await source(), FILE));
    to.world.python.platform = () => 'linux-aarch64';
    expect((await ask(to, { kind: 'install', bundle: FILE })).error).toMatchObject({
      code: 'LOCK_DIFFERS',
      message: expect.stringContaining('for linux-x86_64, and this machine is linux-aarch64'),
    });
    expect(await text(to, NODES)).toBeNull();
  });

  it('takes models along when asked to, and never over those that are there', async () => {
    const config = { models: { required: ['vae/a.safetensors', 'vae/b.safetensors'] } };
    const prepare: GitMachineOptions['prepare'] = (world) => world.files.put('/workspace/shared/models/vae/a.safetensors', 'weights');
    const from = await source({ packs: {}, config, prepare }, { withModels: true });
    const to = await target(await text(from, FILE), config);
    expect(await ask(to, { kind: 'install', bundle: FILE })).toMatchObject({ state: 'succeeded' });
    expect(await text(to, '/workspace/shared/models/vae/a.safetensors')).toBe('weights');
    const manifest = (JSON.parse((await text(from, FILE)) ?? '') as Members)[0]?.[1] ?? '';
    expect(manifest).toContain('model vae/b.safetensors');
  });

  it('of packs from archives brings them along', async () => {
    const nodes = JSON.stringify({ custom_nodes: [{ name: 'Zip', archive: 'https://example.com/zip.zip' }] });
    const machine = await aGitMachine({
      packs: {},
      nodes,
      prepare: (world) => {
        world.archives['https://example.com/zip.zip'] = { '__init__.py': 'NODES = {}' };
        world.files.put('/media/there', '');
      },
    });
    machines.push(machine);
    const installed = await ask(machine, { kind: 'install' });
    expect(installed.message).not.toContain('failed node packs');
    await ask(machine, { kind: 'bundle', bundle: FILE });
    const to = await target(await text(machine, FILE));
    expect(await ask(to, { kind: 'install', bundle: FILE })).toMatchObject({ state: 'succeeded' });
    expect((await currentRelease(to))?.packs).toMatchObject([{ name: 'Zip', state: 'loaded' }]);
  });

  it('is not made over a file, nor of a release that is not the locked one', async () => {
    const machine = await source();
    expect((await ask(machine, { kind: 'bundle', bundle: FILE })).error).toMatchObject({ code: 'REQUEST_INVALID' });
    machine.world.files.put(LOCK, ((await text(machine, LOCK)) ?? '').replace(fakeCommitId('ComfyUI-One 1'), 'f'.repeat(40)));
    await machine.core.refreshInputs();
    expect((await ask(machine, { kind: 'bundle', bundle: '/media/two.tar' })).error).toMatchObject({ code: 'HELD' });
    expect(await text(machine, '/media/two.tar')).toBeNull();
  });

  it('that is asked for while another installation runs is held, not taken for done', async () => {
    const bundle = await text(await source(), FILE);
    const to = await aGitMachine({ packs: { 'ComfyUI-One': null } });
    machines.push(to);
    to.world.files.put(FILE, bundle ?? '');
    const gate = Promise.withResolvers<void>();
    to.world.beforeGit = () => gate.promise;
    const first = await to.core.agent.startOperation({ kind: 'install' });
    await expect(to.core.agent.startOperation({ kind: 'install', bundle: FILE })).rejects.toMatchObject({ code: 'HELD' });
    gate.resolve();
    await to.finished(first);
    await expect(to.core.agent.startOperation({ kind: 'reinstall', bundle: FILE })).rejects.toMatchObject({ code: 'REQUEST_INVALID' });
  });

  it('that an agent was installing when it was killed is gone on with by the next one', async () => {
    const from = await source();
    const [bundle, lock] = [await text(from, FILE), await text(from, LOCK)];
    const to = await target(bundle);
    // It dies while it reads the bundle: its wish is all that is left.
    const death = Promise.withResolvers<void>();
    to.world.files.before = (call, path) => (call === 'writeText' && path.includes('/cache/tmp/bundle-') ? death.promise : undefined);
    await to.core.agent.startOperation({ kind: 'install', bundle: FILE });
    await to.advance(1_000);
    to.world.files.before = null;
    expect(await currentRelease(to)).toBeNull();
    const next = await aMachine({ world: to.world, config: { comfyui: { repository: COMFYUI } } });
    machines.push(next);
    await next.start();
    await next.until('the bundle is installed', () => next.core.documents().installation.release !== null);
    expect(await text(next, LOCK)).toBe(lock);
    expect(next.world.python.calls.filter((call) => call.startsWith('resolve'))).toEqual([]);
    death.reject(new Error('killed'));
  });
});
