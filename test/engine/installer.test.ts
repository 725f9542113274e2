import { afterEach, describe, expect, it } from 'vitest';
import type { InstallProgress, PackStatus } from '../../src/domain/release.ts';
import type { OperationDocument } from '../../src/domain/operation.ts';
import { readRelease } from '../../src/engine/releases.ts';
import { fakeCommitId } from '../fakes/git.ts';
import { aMachine, type Machine, type MachineOptions } from '../support/machine.ts';
import { aRepository, COMFYUI, configNodes, CORE_FILES, INDEX, packUrl, push, repositories } from '../support/packs.ts';
import { createWorld, type World } from '../support/world.ts';

let machine: Machine;
afterEach(async () => {
  await machine.stop();
});

interface Lab extends Omit<MachineOptions, 'world'> {
  readonly packs?: Readonly<Record<string, string | null>>;
  /** Text of config_nodes.json; default: all packs. */
  readonly nodes?: string;
  readonly prepare?: (world: World) => void;
}

/** A machine that installs from git; nothing is done by itself. */
async function lab({ packs = {}, nodes, prepare, config, ...rest }: Lab = {}): Promise<void> {
  const world = await createWorld({ repositories: repositories(packs), index: INDEX });
  world.files.put('/workspace/shared/config_nodes.json', nodes ?? configNodes(...Object.keys(packs)));
  prepare?.(world);
  machine = await aMachine({ world, config: { ...config, comfyui: { repository: COMFYUI, ...config?.comfyui } }, ...rest });
}

const install = async (kind: 'install' | 'reinstall' = 'install'): Promise<OperationDocument> => {
  // Releases are named by the second.
  await machine.advance(1_000);
  return machine.finished(await machine.core.agent.startOperation({ kind }));
};
const current = async () => {
  const target = await machine.world.files.readLink('/workspace/current');
  const release = target === null ? null : await readRelease(machine.world.files, machine.core.knowledge.configuration.layout, target.slice(20));
  return release;
};
const pack = async (name: string): Promise<PackStatus | undefined> => (await current())?.packs.find((each) => each.name === name);
const nodeFile = (path: string, release = 'current') => `/workspace/${release}/ComfyUI/custom_nodes/${path}`;

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
    const steps = ['prepare', 'source', 'packs', 'environment', 'pack-setup', 'links', 'validate', 'activate'];
    expect([...new Set(seen.map(({ step }) => step))]).toEqual(steps);
    expect(machine.journal('install.step').map(({ data }) => data['step'])).toEqual(steps);
    for (const [index, { progress }] of seen.entries()) expect(progress).toBeGreaterThanOrEqual(seen[index - 1]?.progress ?? 0);
    expect(seen.at(-1)).toMatchObject({ progress: 1, steps: steps.map((name) => ({ name, state: 'done' })) });
    expect(seen.some(({ bytes }) => bytes > 0)).toBe(true);
    const log = await machine.world.files.readText(seen.at(-1)?.logFile ?? '');
    expect(log?.split('\n').filter((line) => line.startsWith('== '))).toEqual(steps.map((name) => `== ${name}`));
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
    expect(await install()).toMatchObject({ state: 'succeeded', message: expect.stringContaining('is already right; nothing to do') as string });
    expect(machine.world.files.tree('/workspace')).toEqual(before);
    expect(machine.wires.changes.slice(calls).filter(({ name }) => !name.startsWith('files'))).toEqual([]);
  });

  it('without a trial start when that is turned off, and then still reaches the end', async () => {
    await lab({ config: { install: { validate: false } } });
    const operation = await install();
    expect(operation.install).toMatchObject({ progress: 1 });
    expect(operation.install?.steps.find(({ name }) => name === 'validate')?.state).toBe('skipped');
    expect((await current())?.validated).toBeNull();
    expect(machine.world.shell.commands).toEqual([]);
  });

  it('keeps the commits it has when something else changes, and moves on a reinstall', async () => {
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

describe('packs', () => {
  it('that cannot be fetched are recorded, and the others go on', async () => {
    await lab({ packs: { 'ComfyUI-One': null, 'ComfyUI-Two': null }, prepare: (world) => delete world.repositories[packUrl('ComfyUI-One')] });
    expect(await install()).toMatchObject({ state: 'succeeded', message: expect.stringContaining('failed node packs: ComfyUI-One') as string });
    expect(await pack('ComfyUI-One')).toMatchObject({ state: 'failed', error: expect.stringContaining('there is no git repository') as string });
    expect((await pack('ComfyUI-Two'))?.state).toBe('loaded');
    await machine.step();
    expect(machine.core.documents().installation).toMatchObject({ status: 'degraded', ok: true, reason: '1 node pack failed: ComfyUI-One' });
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
      error: expect.stringMatching(/^its requirements do not fit: .*cannot be met together; override or constrain/) as string,
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
      nodes: configNodes({ name: 'ComfyUI-One', env: { KEY: '${HF_TOKEN}', MODE: "it's $HOME", EMPTY: '${NOT_SET}' } }),
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
    expect(runs.every(({ options }) => options.cwd === directory)).toBe(true);
    expect(runs[1]?.options.environment).toMatchObject({ PIP_CONSTRAINT: expect.stringContaining('constraints.txt') as string });
    expect(await pack('ComfyUI-One')).toMatchObject({
      state: 'loaded',
      warnings: ['custom_script ended with exit code 2: make: *** No rule'],
    });
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
      expect(await files.readLink(`${release}/ComfyUI/custom_nodes/ComfyUI-One/cache.db`)).toBe('/workspace/shared/pack-state/ComfyUI-One/cache.db');
      expect(await files.readText(`${release}/ComfyUI/custom_nodes/ComfyUI-One/downloads/model.pt`)).toBe('weights');
    }
    expect((await pack('ComfyUI-One'))?.warnings[0]).toContain('is kept in shared/pack-state');
    expect((await install('reinstall')).state).toBe('succeeded');
    expect(await files.readText(nodeFile('ComfyUI-One/cache.db'))).toBe('rows');
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
