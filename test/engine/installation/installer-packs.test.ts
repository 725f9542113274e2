import { afterEach, describe, expect, it } from 'vitest';
import type { PackStatus } from '../../../src/domain/installation/release.ts';
import type { OperationDocument } from '../../../src/domain/operation.ts';
import { aRepository, configNodes, packUrl, push } from '../../support/machine/fake-repositories.ts';
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
const current = () => currentRelease(machine);
const pack = async (name: string): Promise<PackStatus | undefined> => (await current())?.packs.find((each) => each.name === name);
const installLog = async (): Promise<string> => {
  const { files } = machine.world;
  const [newest] = (await files.list('/workspace/logs'))
    .filter((name) => name.startsWith('install-'))
    .toSorted()
    .reverse();
  return (await files.readText(`/workspace/logs/${newest}`)) ?? '';
};
const nodeFile = (path: string) => `/workspace/current/ComfyUI/custom_nodes/${path}`;

const variable = (name: string): string => `\${${name}}`;

describe('packs', () => {
  it('that cannot be fetched are recorded, and the others go on', async () => {
    await lab({
      packs: { 'ComfyUI-One': null, 'ComfyUI-Two': null },
      prepare: (world) => delete world.repositories[packUrl('ComfyUI-One')],
    });
    expect(await install()).toMatchObject({
      state: 'succeeded',
      message: expect.stringContaining('failed node packs: ComfyUI-One') as string,
    });
    expect(await pack('ComfyUI-One')).toMatchObject({
      state: 'failed',
      error: expect.stringContaining('there is no git repository') as string,
    });
    expect((await pack('ComfyUI-Two'))?.state).toBe('loaded');
    await machine.step();
    expect(machine.core.documents().installation).toMatchObject({
      status: 'degraded',
      ok: true,
      reason: expect.stringMatching(/^1 node pack failed: ComfyUI-One \(.+\)$/) as string,
    });
  });

  it('and ComfyUI that are not fetched again are counted as such', async () => {
    await lab({ packs: { 'ComfyUI-One': null, 'ComfyUI-Two': null } });
    const counts = ({ install: progress }: OperationDocument) =>
      progress?.steps.filter(({ name }) => name === 'source' || name === 'packs').map(({ cache }) => cache);
    expect(counts(await install())).toEqual([
      { hits: 0, total: 1 },
      { hits: 0, total: 2 },
    ]);
    expect(counts(await install('reinstall'))).toEqual([
      { hits: 1, total: 1 },
      { hits: 2, total: 2 },
    ]);
    expect(await installLog()).toMatch(/^== packs done after \d+\.\d s, \d+ bytes received, 2 of 2 from the cache$/m);
  });

  it('that failed are tried again by the next installation', async () => {
    await lab({ packs: { 'ComfyUI-One': null }, prepare: (world) => delete world.repositories[packUrl('ComfyUI-One')] });
    await install();
    machine.world.repositories[packUrl('ComfyUI-One')] = aRepository('ComfyUI-One', { '__init__.py': '' });
    expect(await install()).toMatchObject({ state: 'succeeded' });
    expect((await pack('ComfyUI-One'))?.state).toBe('loaded');
  });

  it('that do not import are recorded with their error', async () => {
    await lab({ packs: { 'ComfyUI-One': null, 'ComfyUI-Two': null }, prepare: (world) => world.broken.add('ComfyUI-Two') });
    expect((await install()).state).toBe('succeeded');
    expect(await pack('ComfyUI-Two')).toMatchObject({ state: 'failed', error: "it does not import: No module named 'missing'" });
    expect((await pack('ComfyUI-One'))?.state).toBe('loaded');
  });

  it('that contradict each other: the later one is left out, with the reason', async () => {
    await lab({ packs: { 'ComfyUI-One': 'numpy<2', 'ComfyUI-Two': 'numpy>=2', 'ComfyUI-Three': 'pillow' } });
    expect((await install()).state).toBe('succeeded');
    expect((await pack('ComfyUI-One'))?.state).toBe('loaded');
    expect(await pack('ComfyUI-Two')).toMatchObject({
      state: 'failed',
      error: expect.stringMatching(
        /^its requirements do not fit: .*cannot be met together \[numpy>=2 \(requirements\.txt:1\) against ComfyUI-One numpy<2 \(requirements\.txt:1\)\]; override or constrain/,
      ) as string,
    });
    expect((await current())?.packages).toMatchObject({ numpy: '1.26.4', pillow: '11.0.0' });
  });

  it('cannot move torch or bring in a version that is known to be bad', async () => {
    await lab({ packs: { 'ComfyUI-One': 'torch==2.6.0', 'ComfyUI-Two': 'aiohttp==3.14.2' } });
    await install();
    expect((await pack('ComfyUI-One'))?.state).toBe('failed');
    expect((await pack('ComfyUI-Two'))?.state).toBe('failed');
    expect((await current())?.packages).toMatchObject({ torch: '2.7.1', aiohttp: '3.14.1' });
  });

  it('get their .env, private and without their secrets being told', async () => {
    await lab({
      packs: { 'ComfyUI-One': null },
      nodes: configNodes({ name: 'ComfyUI-One', env: { KEY: variable('HF_TOKEN'), MODE: "it's $HOME", EMPTY: variable('NOT_SET') } }),
      environment: { HF_TOKEN: 'hf_secret' },
    });
    await install();
    const { files } = machine.world;
    expect(await files.readText(nodeFile('ComfyUI-One/.env'))).toBe("KEY=hf_secret\nMODE='it\\'s $HOME'\nEMPTY=\n");
    expect(files.mode(nodeFile('ComfyUI-One/.env'))).toBe(0o600);
    expect((await pack('ComfyUI-One'))?.warnings).toEqual(['its .env has empty values, because these variables are not set: NOT_SET']);
    const everything = JSON.stringify([machine.world.journal.entries, await current(), machine.log.lines]);
    expect(everything).not.toContain('hf_secret');
  });

  it('run their scripts in their folder, and a script that fails is told and not fatal', async () => {
    await lab({
      packs: { 'ComfyUI-One': null },
      nodes: configNodes({ name: 'ComfyUI-One', custom_script: 'make models' }),
      environment: { DATABASE_PASSWORD: 'of the agent' },
      prepare: (world) => {
        push(world.repositories[packUrl('ComfyUI-One')], 'ComfyUI-One', { 'install.py': 'print()', 'requirements.txt': '' });
        world.shell.onRun(({ file }) => (file === 'bash' ? { exitCode: 2, tail: 'make: *** No rule\n' } : {}));
      },
    });
    await install();
    const directory = (await machine.world.files.realPath(nodeFile('ComfyUI-One'))) ?? '';
    const runs = machine.world.shell.commands.filter(({ args }) => !args.includes('main.py'));
    expect(runs.map(({ file, args }) => [file.split('/').at(-1), ...args])).toEqual([
      ['bash', '-c', 'make models'],
      ['python', '-u', 'install.py'],
    ]);
    expect(runs.every(({ options }) => options.cwd === directory && (options.timeoutMs ?? 0) > 0)).toBe(true);
    // The agent's own environment has more than that.
    expect(runs[0]?.options.environment).not.toHaveProperty('DATABASE_PASSWORD');
    expect(runs[1]?.options.environment).toMatchObject({ PIP_CONSTRAINT: expect.stringContaining('constraints.txt') as string });
    expect(await pack('ComfyUI-One')).toMatchObject({
      state: 'loaded',
      warnings: ['custom_script ended with exit code 2: make: *** No rule'],
    });
  });

  it('cannot have a place outside of their folder linked: the list of what is kept is theirs to write', async () => {
    await lab({ packs: { 'ComfyUI-One': null } });
    await install();
    const { files } = machine.world;
    files.put('/workspace/shared/pack-state/kept', 'x');
    files.put('/workspace/shared/pack-state/ComfyUI-One/fine', 'x');
    files.put('/workspace/shared/pack-state/ComfyUI-One/.kept', '../kept\n/kept\na/../../kept\nfine\n');
    expect((await install('reinstall')).state).toBe('succeeded');
    const release = (await files.readLink('/workspace/current')) ?? '';
    expect(await files.readLink(`${release}/ComfyUI/custom_nodes/kept`)).toBeNull();
    expect(await files.readLink(`${release}/ComfyUI/custom_nodes/ComfyUI-One/fine`)).toBe('/workspace/shared/pack-state/ComfyUI-One/fine');
  });

  it('keep what they wrote into their own folder: it is moved out once and linked into every release', async () => {
    await lab({ packs: { 'ComfyUI-One': null } });
    await install();
    const { files } = machine.world;
    const first = (await files.readLink('/workspace/current')) ?? '';
    files.put(nodeFile('ComfyUI-One/cache.db'), 'rows');
    files.put(nodeFile('ComfyUI-One/downloads/model.pt'), 'weights');
    expect((await install('reinstall')).state).toBe('succeeded');
    const second = (await files.readLink('/workspace/current')) ?? '';
    expect(second).not.toBe(first);
    for (const release of [first, second]) {
      expect(await files.readLink(`${release}/ComfyUI/custom_nodes/ComfyUI-One/cache.db`)).toBe(
        '/workspace/shared/pack-state/ComfyUI-One/cache.db',
      );
      expect(await files.readText(`${release}/ComfyUI/custom_nodes/ComfyUI-One/downloads/model.pt`)).toBe('weights');
    }
    expect((await pack('ComfyUI-One'))?.warnings[0]).toContain('is kept in shared/pack-state');
    expect((await install('reinstall')).state).toBe('succeeded');
    expect(await files.readText(nodeFile('ComfyUI-One/cache.db'))).toBe('rows');
  });

  it('keep the newest when a file of theirs was replaced, as by a rename: the link is gone then', async () => {
    await lab({ packs: { 'ComfyUI-One': null } });
    await install();
    const { files } = machine.world;
    files.put(nodeFile('ComfyUI-One/settings.json'), 'old');
    expect((await install('reinstall')).state).toBe('succeeded');
    const directory = (await files.realPath(nodeFile('ComfyUI-One'))) ?? '';
    await files.remove(`${directory}/settings.json`);
    files.put(`${directory}/settings.json`, 'new');
    expect((await install('reinstall')).state).toBe('succeeded');
    expect(await files.readText(nodeFile('ComfyUI-One/settings.json'))).toBe('new');
    expect(await files.readText(`${directory}/settings.json`)).toBe('new');
    expect(await files.readLink(`${directory}/settings.json`)).toBe('/workspace/shared/pack-state/ComfyUI-One/settings.json');
  });

  it('lose nothing when the installation ends while their files are moved', async () => {
    await lab({ packs: { 'ComfyUI-One': null } });
    await install();
    const { files } = machine.world;
    const first = (await files.readLink('/workspace/current')) ?? '';
    files.put(nodeFile('ComfyUI-One/cache.db'), 'rows');
    for (const call of ['files.move', 'files.link']) {
      const heal = machine.wires.fail(
        call,
        new Error('input/output error'),
        call === 'files.move' ? `${first}/ComfyUI/custom_nodes/ComfyUI-One/cache.db` : '/workspace/shared/pack-state/ComfyUI-One/cache.db',
      );
      expect((await install('reinstall')).state).toBe('failed');
      heal();
    }
    expect((await install('reinstall')).state).toBe('succeeded');
    expect(await files.readText(nodeFile('ComfyUI-One/cache.db'))).toBe('rows');
    expect(await files.readText(`${first}/ComfyUI/custom_nodes/ComfyUI-One/cache.db`)).toBe('rows');
  });

  it('are not built from a list that is not understood', async () => {
    await lab({ packs: { 'ComfyUI-One': null } });
    await install();
    machine.world.files.put('/workspace/shared/config_nodes.json', '{"custom_nodes": [');
    const before = await machine.world.files.readLink('/workspace/current');
    for (const kind of ['install', 'reinstall'] as const)
      expect(await install(kind)).toMatchObject({ state: 'failed', error: { code: 'CONFIG_NODES_INVALID' } });
    expect(await machine.world.files.readLink('/workspace/current')).toBe(before);
  });
});
