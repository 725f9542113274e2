import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { lstat, readdir, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { newRoot, startAgent, stopAgents, type TestAgent } from '../../support/agent/agent.ts';
import { pidsOf, replaceFile, untilHealthy, untilHeld } from '../../support/agent/scene.ts';
import { eventually } from '../../support/eventually.ts';
import { createPack, folderOf, loads, nodesFile, packOf } from '../../support/git/pack-origins.ts';

/** Node packs over several releases: what they wrote stays, and what was not asked to move does not move. */

let origins: string;
beforeEach(async () => {
  origins = await newRoot();
});
afterEach(stopAgents);

const start = async (nodes: string): Promise<TestAgent> => {
  const agent = await startAgent({ gpus: 1, files: { 'shared/config_nodes.json': nodes } });
  await agent.untilReady([0]);
  return agent;
};

/** Inode of the first file below a directory whose name begins so. */
async function glimpse(directory: string, name: string): Promise<number> {
  const found = (await readdir(directory, { recursive: true })).find((path) => path.split('/').at(-1)?.startsWith(name));
  return (await lstat(join(directory, found ?? name))).ino;
}

/** Installs, and waits until the instance runs from the new release. */
async function installed(agent: TestAgent, verb: 'install' | 'reinstall'): Promise<void> {
  const before = await readlink(join(agent.root, 'current'));
  const result = await agent.cli(verb);
  expect(result).toMatchObject({ code: 0 });
  const release = (await readlink(join(agent.root, 'current'))).split('/').at(-1);
  expect(before).not.toContain(release);
  await eventually('the instance runs the new release', async () => {
    const instance = await agent.instance(0);
    return instance.ready && instance.release === release;
  });
}

describe('what a pack wrote into its own folder', () => {
  it('is there in the next release, and is not lost to the old one', async () => {
    // Counts its starts in a database of its own, as packs do.
    const python = [
      'import os',
      'here = os.path.dirname(os.path.abspath(__file__))',
      'os.makedirs(os.path.join(here, "data"), exist_ok=True)',
      'counter = os.path.join(here, "data", "starts.txt")',
      'if "comfyui-gpu" in os.environ.get("AGENT_INSTANCE", ""):',
      '    with open(counter, "a") as stream: stream.write("x")',
    ].join('\n');
    const pack = await createPack(origins, 'pack', { '__init__.py': loads(python), 'install.py': 'open("made.txt", "w").write("made")\n' });
    const agent = await start(nodesFile({ name: 'Pack', url: pack.url }));
    const old = join(await readlink(join(agent.root, 'current')), 'ComfyUI/custom_nodes/Pack');
    expect(await readFile(join(old, 'data/starts.txt'), 'utf8')).toBe('x');

    await installed(agent, 'reinstall');
    expect(await readFile(join(folderOf(agent, 'Pack'), 'data/starts.txt'), 'utf8')).toBe('xx');
    expect(await readFile(join(agent.root, 'shared/pack-state/Pack/data/starts.txt'), 'utf8')).toBe('xx');
    expect(await readFile(join(old, 'data/starts.txt'), 'utf8')).toBe('xx');
    // What the installation itself makes belongs to each release.
    expect((await lstat(join(folderOf(agent, 'Pack'), 'made.txt'))).isFile()).toBe(true);
    expect(existsSync(join(agent.root, 'shared/pack-state/Pack/made.txt'))).toBe(false);

    await installed(agent, 'reinstall');
    expect(await readFile(join(folderOf(agent, 'Pack'), 'data/starts.txt'), 'utf8')).toBe('xxx');
    // Python compiled its own library once, not once for each release.
    const bytecode = join(agent.root, 'cache/pycache');
    const compiled = await Promise.all((await readdir(bytecode)).map((id) => glimpse(join(bytecode, id), 'argparse.')));
    expect(compiled).toHaveLength(3);
    expect(new Set(compiled).size).toBe(1);
    await untilHealthy(agent);

    // Nor once more for a root that has nothing but the cache.
    const next = await newRoot();
    execFileSync('cp', ['-al', join(agent.root, 'cache'), join(next, 'cache')]);
    await (await startAgent({ root: next, gpus: 1 })).untilReady([0]);
    const [own] = (await readdir(join(next, 'releases'))).toSorted();
    expect(await glimpse(join(next, 'cache/pycache', own ?? ''), 'argparse.')).toBe(compiled[0]);
  });
});

describe('commits', () => {
  it('stay where they are on a change elsewhere and on a reinstall, and move with an update', async () => {
    const moving = await createPack(origins, 'moving', { 'which.txt': '1' });
    const pinned = await createPack(origins, 'pinned');
    const first = await moving.commit({ 'which.txt': '2' });
    const agent = await start(nodesFile({ name: 'Moving', url: moving.url }));
    const pids = await pidsOf(agent);
    expect(await packOf(agent, 'Moving')).toMatchObject({ commit: first });
    const second = await moving.commit({ 'which.txt': '3' });

    // The repository moved on, the configuration did not: nothing to do.
    expect(await agent.cli('install')).toMatchObject({ code: 0, stdout: expect.stringContaining('already right') });
    expect(await pidsOf(agent)).toEqual(pids);

    await replaceFile(
      join(agent.root, 'shared/config_nodes.json'),
      nodesFile({ name: 'Moving', url: moving.url }, { name: 'Other', url: pinned.url }),
    );
    await untilHeld(agent, 'installation', 'INSTALLATION_DIFFERS');
    expect(await pidsOf(agent)).toEqual(pids);
    await installed(agent, 'install');
    expect(await packOf(agent, 'Moving')).toMatchObject({ commit: first, state: 'loaded' });
    expect(await packOf(agent, 'Other')).toMatchObject({ state: 'loaded' });

    await installed(agent, 'reinstall');
    expect(await packOf(agent, 'Moving')).toMatchObject({ commit: first });

    // Shown first, without any change; then done.
    const shown = await agent.cli('update', '--all', '--dry-run');
    expect(shown).toMatchObject({ code: 0 });
    expect(shown.stdout).toMatch(new RegExp(`changed +pack +Moving +${first.slice(0, 10)}.* +${second.slice(0, 10)}`));
    expect(shown.stdout).not.toMatch(/Other/);
    expect(await packOf(agent, 'Moving')).toMatchObject({ commit: first });
    expect(await agent.cli('update', '--pack', 'Moving')).toMatchObject({ code: 0 });
    expect(await packOf(agent, 'Moving')).toMatchObject({ commit: second, state: 'loaded' });
    expect(await agent.cli('install', '--locked')).toMatchObject({ code: 0, stdout: expect.stringContaining('already right') });
    expect(await readFile(join(folderOf(agent, 'Moving'), 'which.txt'), 'utf8')).toBe('3');
    await untilHealthy(agent);
  });
});

describe('a config_nodes.json that is bad when the agent starts', () => {
  it('leaves the release with its packs in use, and nothing is built without them', async () => {
    const pack = await createPack(origins, 'pack');
    const good = nodesFile({ name: 'Pack', url: pack.url });
    const first = await start(good);
    const pids = await pidsOf(first);
    await first.kill();
    await replaceFile(join(first.root, 'shared/config_nodes.json'), good.replace('"url"', '"ulr"'));

    const config = { install: { onChange: 'install' } };
    const agent = await startAgent({ gpus: 1, root: first.root, firstPort: first.firstPort, config });
    const hold = await untilHeld(agent, 'installation', 'CONFIG_NODES_INVALID');
    expect(hold.reason).toMatch(/config_nodes\.json:\d+: pack Pack: there is no key "ulr"/);
    expect(hold.help).toMatch(/did you mean "url"/);
    await agent.untilReady([0]);
    expect(await agent.cli('install')).toMatchObject({ code: 2 });
    expect(await pidsOf(agent)).toEqual(pids);
    await replaceFile(join(first.root, 'shared/config_nodes.json'), good);
    await untilHealthy(agent);
    expect(await pidsOf(agent)).toEqual(pids);
  });
});
