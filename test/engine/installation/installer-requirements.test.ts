import { afterEach, describe, expect, it } from 'vitest';
import type { PackStatus } from '../../../src/domain/installation/release.ts';
import type { FakeCommand } from '../../fakes/shell.ts';
import { configNodes, packUrl, push } from '../../support/machine/fake-repositories.ts';
import { aGitMachine, currentRelease, type GitMachineOptions, install as installOn } from '../../support/machine/git-machine.ts';
import type { Machine } from '../../support/machine/machine.ts';

let machine: Machine;
afterEach(async () => {
  await machine.stop();
});

const lab = async (options?: GitMachineOptions): Promise<void> => {
  machine = await aGitMachine(options);
};
const install = () => installOn(machine);
const current = () => currentRelease(machine);
const pack = async (name: string): Promise<PackStatus | undefined> => (await current())?.packs.find((each) => each.name === name);
const custom = (name: string) => machine.world.files.realPath(`/workspace/current/ComfyUI/custom_nodes/${name}`);
const installLog = async (): Promise<string> => {
  const { files } = machine.world;
  const logs = '/workspace/logs';
  const names = (await files.list(logs)).filter((name) => name.startsWith('install-'));
  return (await Promise.all(names.map((name) => files.readText(`${logs}/${name}`)))).join('\n');
};

const CLASH = { 'ComfyUI-One': '# first\nnumpy<2', 'ComfyUI-Two': 'numpy>=2', 'ComfyUI-Three': 'pillow' };
const TABLE = [
  'pack         requirement                    conflicts with',
  'ComfyUI-Two  numpy>=2 (requirements.txt:1)  ComfyUI-One numpy<2 (requirements.txt:2)',
];

describe('requirements that lead elsewhere', () => {
  it.each([
    [
      'a line',
      (machine: Machine, place: string) =>
        machine.world.files.put(`${place}/requirements.txt`, 'pillow\n-r ../../../../../../closed/agent.env\n'),
    ],
    [
      'a link',
      async (machine: Machine, place: string) => void (await machine.world.files.link('/closed/agent.env', `${place}/requirements.txt`)),
    ],
    ['a directory', (machine: Machine, place: string) => machine.world.files.ensureDirectory(`${place}/requirements.txt`)],
    ['a huge file', (machine: Machine, place: string) => machine.world.files.put(`${place}/requirements.txt`, 'x', { size: 1024 ** 3 })],
  ])('by %s: that pack is left out, the others install, and nothing of what they name is told', async (_what, plant) => {
    await lab({ packs: { 'ComfyUI-One': 'numpy', 'ComfyUI-Evil': 'pillow' } });
    const { files } = machine.world;
    files.put('/closed/agent.env', 'TOKEN=very-secret');
    let isPlanted = false;
    files.before = async (call, path) => {
      const [, place] = /^(.*\/custom_nodes\/ComfyUI-Evil)\/requirements\.txt$/.exec(path) ?? [];
      if (call !== 'read' || place === undefined || isPlanted) return;
      isPlanted = true;
      await files.remove(path);
      await plant(machine, place);
    };
    expect((await install()).state).toBe('succeeded');
    expect(isPlanted).toBe(true);
    expect(await pack('ComfyUI-One')).toMatchObject({ state: 'loaded' });
    expect(await pack('ComfyUI-Evil')).toMatchObject({ state: 'failed', error: expect.stringMatching(/requirements/) as string });
    expect(await custom('ComfyUI-Evil.disabled')).not.toBeNull();
    const told = JSON.stringify([
      machine.core.documents(),
      await installLog(),
      await current(),
      await files.readText('/workspace/agent.lock.json'),
    ]);
    expect(told).not.toContain('very-secret');
  });
});

describe('requirements that do not fit', () => {
  it('leave a pack out: the table is in the log, and its folder is not loaded', async () => {
    await lab({ packs: CLASH });
    expect((await install()).state).toBe('succeeded');
    expect(await installLog()).toContain(TABLE.join('\n'));
    expect((await pack('ComfyUI-Two'))?.state).toBe('failed');
    expect(await custom('ComfyUI-Two')).toBeNull();
    expect(await custom('ComfyUI-Two.disabled')).not.toBeNull();
    expect(await custom('ComfyUI-One')).not.toBeNull();
    // ComfyUI, all packs, the same of indexes as they are now, the others, each suspect.
    expect(machine.world.python.calls.filter((call) => call.startsWith('resolve'))).toHaveLength(6);
  });

  it('are not resolved again for a pack that moves without other requirements; what was left out stays out', async () => {
    await lab({ packs: CLASH });
    await install();
    const { world } = machine;
    const asked = () => world.python.calls.filter((call) => call.startsWith('resolve')).length;
    const move = async (requirements: string): Promise<void> => {
      const files = { '__init__.py': `NODES = {} # ${requirements}`, 'requirements.txt': requirements };
      const commit = push(world.repositories[packUrl('ComfyUI-Three')], 'ComfyUI-Three', files);
      world.files.put('/workspace/shared/config_nodes.json', configNodes('ComfyUI-One', 'ComfyUI-Two', { name: 'ComfyUI-Three', commit }));
      expect((await install()).state).toBe('succeeded');
      expect(await pack('ComfyUI-Three')).toMatchObject({ commit, state: 'loaded' });
    };
    const [before, first] = [asked(), await current()];
    await move('pillow');
    expect(asked()).toBe(before);
    const second = await current();
    expect(second?.id).not.toBe(first?.id);
    expect(second?.packages).toEqual(first?.packages);
    expect(await pack('ComfyUI-Two')).toMatchObject({ state: 'failed', quarantined: true, error: expect.stringContaining('numpy>=2') });
    expect(await custom('ComfyUI-Two.disabled')).not.toBeNull();
    await move('pillow>=11');
    expect(asked()).toBeGreaterThan(before);
  });

  it('are resolved again for a pack that moves when its file leads to another one, which may say something else', async () => {
    await lab({ packs: { 'ComfyUI-One': 'pillow  # see https://example.com/why' } });
    await install();
    const { world } = machine;
    const before = world.python.calls.filter((call) => call.startsWith('resolve')).length;
    const files = { '__init__.py': 'NODES = {} # 2', 'requirements.txt': 'pillow  # see https://example.com/why' };
    const commit = push(world.repositories[packUrl('ComfyUI-One')], 'ComfyUI-One', files);
    world.files.put('/workspace/shared/config_nodes.json', configNodes({ name: 'ComfyUI-One', commit }));
    expect((await install()).state).toBe('succeeded');
    expect(world.python.calls.filter((call) => call.startsWith('resolve')).length).toBeGreaterThan(before);
  });

  it('for want of a version that came out a moment ago are asked once more of the indexes as they are now', async () => {
    const pillow = async () => (await current())?.packages['pillow'];
    await lab({ packs: { 'ComfyUI-One': 'pillow', 'ComfyUI-Two': 'pillow>=12' }, nodes: configNodes('ComfyUI-One') });
    await install();
    machine.world.python.publish('pillow', '12.0.0');
    await install();
    expect(await pillow()).toBe('11.0.0');
    machine.world.files.put('/workspace/shared/config_nodes.json', configNodes('ComfyUI-One', 'ComfyUI-Two'));
    await install();
    expect(await pillow()).toBe('12.0.0');
    expect((await pack('ComfyUI-Two'))?.state).toBe('loaded');
  });

  it('fail the installation when they are to: the table is in the error, and nothing is changed', async () => {
    await lab({ packs: { ...CLASH, 'ComfyUI-Four': 'no-such-package' }, config: { install: { onConflict: 'fail' } } });
    const operation = await install();
    expect(operation).toMatchObject({
      state: 'failed',
      error: {
        code: 'REQUIREMENTS_UNRESOLVED',
        message: expect.stringMatching(/^the requirements of 2 node packs do not fit \(ComfyUI-Two: .*; ComfyUI-Four: .*\)$/) as string,
        help: expect.stringContaining('install.onConflict') as string,
        details: {
          conflicts: [
            { pack: 'ComfyUI-Two', line: 'numpy>=2', file: 'requirements.txt', lineNumber: 1 },
            { pack: 'ComfyUI-Four', line: 'no-such-package', file: 'requirements.txt', lineNumber: 1 },
          ],
        },
      },
    });
    expect(await current()).toBeNull();
    expect(machine.world.python.calls.filter((call) => call.startsWith('install'))).toEqual([]);
  });

  it('of ComfyUI itself fail the installation with the same table', async () => {
    await lab({ packs: {}, config: { python: { constraints: ['torch==1.0'] } } });
    expect(await install()).toMatchObject({
      state: 'failed',
      error: { code: 'REQUIREMENTS_UNRESOLVED', details: { conflicts: [{ pack: 'ComfyUI', line: 'torch', lineNumber: 1 }] } },
    });
  });

  it('are overridden for a reason, which is told and asks for no new installation', async () => {
    const reason = 'Two runs with 1.26 as well';
    await lab({ packs: CLASH, config: { python: { overrides: [{ requirement: 'numpy==1.26.4', reason }] } } });
    expect((await install()).state).toBe('succeeded');
    expect((await pack('ComfyUI-Two'))?.state).toBe('loaded');
    expect(await installLog()).toContain(`override numpy==1.26.4 (${reason})`);
    expect((await current())?.spec.python.overrides).toEqual(['numpy==1.26.4']);
  });

  it('name no index for everybody else, and it is told that they do', async () => {
    await lab({ packs: { 'ComfyUI-One': '--extra-index-url https://me:secret@h/simple\npillow' } });
    await install();
    expect((await pack('ComfyUI-One'))?.warnings).toEqual([
      expect.stringMatching(
        /^--extra-index-url https:\/\/\*\*\*@h\/simple in its requirements\.txt is not followed.*python\.extraIndexUrls/,
      ) as string,
    ]);
    expect((await current())?.packages).toMatchObject({ pillow: '11.0.0' });
  });

  it('are read from pyproject.toml where there is no requirements.txt', async () => {
    await lab({
      packs: { 'ComfyUI-One': null },
      prepare: (world) => {
        push(world.repositories[packUrl('ComfyUI-One')], 'ComfyUI-One', {
          '__init__.py': '',
          'pyproject.toml': '[project]\nname = "one"\ndependencies = ["pillow<11"]\n',
        });
      },
    });
    await install();
    expect((await current())?.packages).toMatchObject({ pillow: '10.0.0' });
    expect(await pack('ComfyUI-One')).toMatchObject({ state: 'loaded', warnings: [] });
  });
});

describe('packages that scripts of packs change', () => {
  const withScripts = async (play: (command: FakeCommand) => void, config: GitMachineOptions['config'] = {}) => {
    await lab({
      packs: { 'ComfyUI-One': 'numpy', 'ComfyUI-Two': null },
      config,
      prepare: (world) => {
        for (const name of ['ComfyUI-One', 'ComfyUI-Two'])
          push(world.repositories[packUrl(name)], name, {
            '__init__.py': '',
            'install.py': '',
            'requirements.txt': name === 'ComfyUI-One' ? 'numpy' : '',
          });
        world.shell.onRun((command) => {
          if (command.args.includes('install.py')) play(command);
          return {};
        });
      },
    });
    expect((await install()).state).toBe('succeeded');
  };
  const isOf = (name: string, { options }: FakeCommand) => options.cwd?.endsWith(`/${name}`) === true;

  it('are put back as they were, and it is told on the pack that did it', async () => {
    await withScripts((command) => {
      if (isOf('ComfyUI-One', command)) machine.world.python.change(command.file, { torch: '2.6.0', numpy: null });
    });
    expect(await pack('ComfyUI-One')).toMatchObject({
      state: 'loaded',
      warnings: ['install.py replaced torch 2.7.1 by 2.6.0: undone', 'install.py removed numpy 2.2.0: undone'],
    });
    expect((await pack('ComfyUI-Two'))?.warnings).toEqual([]);
    expect((await current())?.packages).toMatchObject({ torch: '2.7.1', numpy: '2.2.0' });
  });

  it('stay when they are new and nothing forbids them, and a later pack may not move them', async () => {
    await withScripts(
      (command) => {
        if (isOf('ComfyUI-One', command)) machine.world.python.change(command.file, { pillow: '10.0.0', evil: '9' });
        else machine.world.python.change(command.file, { pillow: '11.0.0' });
      },
      { python: { constraints: ['evil<2'] } },
    );
    expect((await pack('ComfyUI-One'))?.warnings).toEqual([
      'install.py added evil 9, against the constraint evil<2: undone',
      'install.py added pillow 10.0.0: adopted',
    ]);
    expect((await pack('ComfyUI-Two'))?.warnings).toEqual(['install.py replaced pillow 10.0.0 by 11.0.0: undone']);
    const { packages } = (await current()) ?? {};
    expect(packages).toMatchObject({ pillow: '10.0.0' });
    expect(packages).not.toHaveProperty('evil');
  });

  it('that no index has stay installed, and out of the lock', async () => {
    await withScripts((command) => {
      if (isOf('ComfyUI-One', command)) machine.world.python.change(command.file, { pillow: '10.0.0', homemade: '1.0', another: '2' });
    });
    expect((await pack('ComfyUI-One'))?.warnings).toEqual([
      'install.py added pillow 10.0.0: adopted',
      'install.py added another 2, homemade 1.0, which the configured package indexes do not have: kept, not locked',
    ]);
    expect((await current())?.packages).toMatchObject({ pillow: '10.0.0', homemade: '1.0', another: '2' });
  });

  it('are kept from pip where it asks, in scripts and in what runs', async () => {
    const seen: (string | undefined)[] = [];
    await withScripts((command) => seen.push(command.options.environment?.['UV_BUILD_CONSTRAINT']));
    const release = await current();
    const file = `/workspace/releases/${release?.id}/constraints.txt`;
    expect(seen).toEqual([file, file]);
    expect(release?.constraints).toBe('constraints.txt');
    expect(await machine.world.files.readText(file)).toContain('torch==2.7.1');
    const trial = machine.world.shell.commands.find(({ args }) => args.includes('main.py'));
    expect(trial?.options.environment).toMatchObject({ PIP_CONSTRAINT: file });
  });
});
