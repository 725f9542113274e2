import { afterEach, describe, expect, it } from 'vitest';
import { aRepository, configNodes } from '../../support/machine/fake-repositories.ts';
import { aMachine, aReadyMachine, type Machine, type MachineOptions } from '../../support/machine/machine.ts';
import { createWorld } from '../../support/machine/world.ts';

const SHARED = 'https://example.com/shared.git';
const NODES = '/workspace/shared/config_nodes.json';
const DIRECTORIES = '/workspace/shared/comfy_dir_config.yaml';
const STATIC = '/workspace/shared/static-models.json';
const PATHS = '/workspace/instances/extra_model_paths.yaml';

let machine: Machine;
afterEach(async () => {
  await machine.stop();
});

const BORDER = {
  comfyui: { name: 'comfyui', uid: 1_001, gids: [1_001] },
  trusted: [0, 1_000],
  names: new Map([
    [0, 'root'],
    [1_001, 'comfyui'],
  ]),
};

const lab = async (files: Readonly<Record<string, string>> = {}, options: MachineOptions = {}): Promise<void> => {
  const world = options.world ?? (await createWorld());
  for (const [path, text] of Object.entries(files)) world.files.put(path, text);
  machine = await aMachine({ ...options, world });
  await machine.step();
};
const put = async (path: string, text: string): Promise<void> => {
  machine.world.files.put(path, text);
  await machine.core.refreshInputs();
  await machine.core.surveys.models();
  await machine.step();
};
const inputs = () => machine.core.knowledge.inputs;
const paths = async () => (await machine.world.files.readText(PATHS)) ?? '';

describe('config_nodes.json', () => {
  it('that turned bad keeps the packs it named, and says which file and line is wrong, once', async () => {
    await lab({ [NODES]: configNodes('ComfyUI-One') });
    expect(inputs().packs.map(({ name }) => name)).toEqual(['ComfyUI-One']);
    await put(NODES, '{"custom_nodes": [\n  {"name": "ComfyUI-One",\n');
    await machine.core.refreshInputs();
    expect(inputs().packs.map(({ name }) => name)).toEqual(['ComfyUI-One']);
    expect(machine.journal('inputs.rejected')).toHaveLength(1);
    expect(machine.journal('inputs.rejected')[0]).toMatchObject({ level: 'error', data: { code: 'CONFIG_NODES_INVALID' } });
    expect(machine.core.documents().configuration).toMatchObject({ ok: false, problem: expect.stringContaining(NODES) as string });
    await put(NODES, configNodes('ComfyUI-Two'));
    expect(inputs()).toMatchObject({ packs: [{ name: 'ComfyUI-Two' }], problem: null });
    expect(machine.core.documents().configuration).toMatchObject({ ok: true, problem: null });
  });

  it('that the user of ComfyUI could have written is not obeyed; what it would change and whose it is are told', async () => {
    const world = await createWorld();
    world.files.border = BORDER;
    await lab({ [NODES]: configNodes('ComfyUI-One') }, { world });
    expect(inputs()).toMatchObject({ packs: [{ name: 'ComfyUI-One' }], packsOwner: 'root', problem: null });
    world.files.own(NODES, { uid: BORDER.comfyui.uid });
    await put(NODES, configNodes('ComfyUI-Two'));
    expect(inputs().packs.map(({ name }) => name)).toEqual(['ComfyUI-One']);
    expect(inputs().installationProblem).toEqual({
      code: 'INPUT_UNTRUSTED',
      message: `${NODES} (of comfyui) is not obeyed: ${NODES} belongs to comfyui; it would change: adds ComfyUI-Two; removes ComfyUI-One`,
      help: `read it; if it says what you want, type: chown root '${NODES}' && chmod g-w,o-w '${NODES}'`,
    });
    world.files.own(NODES, { uid: 0 });
    await machine.core.refreshInputs();
    expect(inputs()).toMatchObject({ packs: [{ name: 'ComfyUI-Two' }], installationProblem: null });
  });

  it.each([
    [DIRECTORIES, 'comfyui:\n  base_path: /\n'],
    [STATIC, '[]'],
    ['/workspace/shared/workflows/a.json', '{}'],
  ])('%s that could be of the user of ComfyUI is not obeyed either', async (file, text) => {
    const world = await createWorld();
    world.files.border = BORDER;
    world.files.own(file, { gid: 1_001, mode: 0o664 });
    await lab({ [file]: text }, { world });
    const told = JSON.stringify([inputs().problem, inputs().warnings]);
    expect(told).toContain(`${file} can be written by comfyui (mode 664)`);
    expect(told).toContain('chmod g-w,o-w');
  });

  it('that was never good: nothing is installed from it, and the hold says why', async () => {
    await lab({ [NODES]: '[{"name": 7}]' });
    await machine.start();
    await machine.advance(10_000);
    expect(machine.events('install')).toEqual([]);
    expect(machine.core.documents().health.holds).toContainEqual(
      expect.objectContaining({ target: 'installation', code: 'CONFIG_NODES_INVALID' }),
    );
    await put(NODES, '[]');
    await machine.until('it follows by itself', machine.isReady);
  });

  it('that cannot be read keeps nobody from starting, and is told', async () => {
    const world = await createWorld();
    world.files.before = (call, path) => {
      if (call === 'read' && path === NODES) throw Object.assign(new Error('EACCES: permission denied'), { code: 'EACCES' });
    };
    await lab({ [NODES]: configNodes('ComfyUI-One') }, { world });
    expect(inputs()).toMatchObject({ packs: [], installationProblem: { message: `${NODES} could not be read: permission denied` } });
    await machine.start();
    await machine.advance(5_000);
    expect(machine.events('install')).toEqual([]);
  });

  it('that does not exist asks for nothing; one that was named and does not exist is told', async () => {
    await lab();
    expect(inputs()).toMatchObject({ packs: [], problem: null, warnings: [] });
    await machine.stop();
    await lab({}, { config: { packs: { file: '/etc/nodes.json' } } });
    expect(inputs().warnings).toEqual(['/etc/nodes.json does not exist: no node packs are installed']);
  });
});

describe('comfy_dir_config.yaml', () => {
  it('goes into the paths file after the models directory of the agent', async () => {
    await lab({
      [DIRECTORIES]: 'nas:\n  base_path: /nas\n  checkpoints: |\n    sd15\n    sdxl\n',
      '/nas/sd15/a.safetensors': '',
      '/nas/sdxl/b': '',
    });
    const text = await paths();
    expect(text.indexOf('/workspace/shared/models/checkpoints')).toBeLessThan(text.indexOf('/nas/sd15'));
    expect(text).toContain('"checkpoints": "/nas/sd15\\n/nas/sdxl"');
    expect(inputs().warnings).toEqual([]);
  });

  it('leaves out folders of packs that are missing or were not allowed: ComfyUI would not start, or load strangers', async () => {
    await lab(
      { [DIRECTORIES]: 'a:\n  custom_nodes: |\n    /packs/there\n    /packs/missing\n    /elsewhere\n', '/packs/there/x/__init__.py': '' },
      { config: { packs: { directories: ['/packs'] } } },
    );
    expect(await paths()).toContain('"custom_nodes": "/packs/there"');
    expect(inputs().warnings).toEqual([
      expect.stringContaining('/packs/there are loaded from outside'),
      expect.stringContaining('/packs/missing does not exist and is left out'),
      expect.stringContaining('the packs in /elsewhere are not loaded'),
    ]);
  });

  it('that turned bad keeps its sections', async () => {
    await lab({ [DIRECTORIES]: 'nas:\n  checkpoints: /nas/sd\n', '/nas/sd/a': '' });
    await put(DIRECTORIES, 'nas:\n  checkpoints: [1, 2\n');
    expect(inputs()).toMatchObject({ problem: { code: 'PATHS_FILE_INVALID' }, installationProblem: null });
    expect(await paths()).toContain('/nas/sd');
  });

  it('is written only when it says something else; instances with the earlier one are then rolled, one at a time', async () => {
    machine = await aReadyMachine();
    const writes = () => machine.world.files.written.filter((path) => path === PATHS).length;
    expect(writes()).toBe(1);
    await machine.core.refreshInputs();
    expect(writes()).toBe(1);
    const before = machine.world.pm2.calls.length;
    await put(DIRECTORIES, 'nas:\n  checkpoints: /nas/sd\n');
    let fewest = 2;
    await machine.until('both run with it', () => {
      fewest = Math.min(fewest, machine.world.running().size);
      return machine.world.pm2.calls.length === before + 2 && machine.core.documents().health.capacity === '2/2';
    });
    expect(fewest).toBeGreaterThan(0);
    expect(machine.journal('action.restart-instance').map(({ target }) => target)).toEqual(['instance 0', 'instance 1']);
    await machine.advance(10_000);
    expect(machine.world.pm2.calls).toHaveLength(before + 2);
  });
});

describe('static-models.json', () => {
  const links = JSON.stringify({
    symlinks: [
      { source: 'checkpoints/base.safetensors', target: 'checkpoints/base.safetensors' },
      { source: 'loras/gone.pt', target: 'loras/gone.pt' },
      { source: 'vae/mine.pt', target: 'vae/mine.pt' },
    ],
  });

  it('gets its links, never over a file that is there; what is missing is a required model', async () => {
    await lab({
      [STATIC]: links,
      '/workspace/shared/sd_models/checkpoints/base.safetensors': 'weights',
      '/workspace/shared/sd_models/vae/mine.pt': 'theirs',
      '/workspace/shared/models/vae/mine.pt': 'mine',
    });
    const { files } = machine.world;
    expect(await files.readLink('/workspace/shared/models/checkpoints/base.safetensors')).toBe(
      '/workspace/shared/sd_models/checkpoints/base.safetensors',
    );
    expect(await files.readText('/workspace/shared/models/vae/mine.pt')).toBe('mine');
    expect(inputs().warnings).toEqual(['/workspace/shared/models/vae/mine.pt is no link and was left alone (static-models.json)']);
    const { models } = machine.core.documents();
    expect(models).toMatchObject({ status: 'fail', required: 3, missing: [{ path: 'loras/gone.pt', requiredBy: ['static-models.json'] }] });
    expect(models.present.map(({ path }) => path)).toEqual(['checkpoints/base.safetensors', 'vae/mine.pt']);
  });

  it('that turned bad keeps its links', async () => {
    await lab({ [STATIC]: links });
    await put(STATIC, '{"symlinks": 3}');
    expect(inputs().problem?.code).toBe('STATIC_MODELS_INVALID');
    expect(inputs().links).toHaveLength(3);
  });
});

describe('required models', () => {
  const graph = JSON.stringify({ '1': { class_type: 'CheckpointLoaderSimple', inputs: { ckpt_name: 'flux.safetensors' } } });

  it('come from the configuration, the links and the graphs, each file once with all who ask for it', async () => {
    await lab(
      {
        '/workspace/shared/workflows/flux.json': graph,
        '/workspace/shared/workflows/notes.json': 'no graph',
        '/workspace/shared/workflows/a.txt': '',
      },
      { config: { models: { required: ['checkpoints/flux.safetensors', { path: 'vae/x.pt', sizeBytes: 5 }] } } },
    );
    expect(inputs().models.map(({ path, requiredBy }) => [path, ...requiredBy])).toEqual([
      ['checkpoints/flux.safetensors', 'models.required', 'workflow flux.json'],
      ['vae/x.pt', 'models.required'],
    ]);
    expect(inputs().warnings).toEqual(['workflows/notes.json is no JSON and was not read']);
  });

  it('are looked for in every folder of their category', async () => {
    await lab({
      '/workspace/shared/workflows/flux.json': graph,
      [DIRECTORIES]: 'nas:\n  checkpoints: /nas/sd\n',
      '/nas/sd/flux.safetensors': 'weights',
    });
    expect(machine.core.documents().models).toMatchObject({ status: 'pass', required: 1, missing: [] });
  });

  it('that are missing, empty, of another size or content are told apart, and degrade without taking out of use', async () => {
    const world = await createWorld();
    world.files.put('/workspace/shared/models/a.pt', '');
    world.files.put('/workspace/shared/models/b.pt', 'four');
    world.files.put('/workspace/shared/models/c.pt', 'other');
    machine = await aMachine({
      world,
      config: { models: { required: ['a.pt', { path: 'b.pt', sizeBytes: 5 }, { path: 'c.pt', sha256: '0'.repeat(64) }, 'd.pt'] } },
    });
    await machine.start();
    await machine.until('both are ready', () => machine.core.documents().health.capacity === '2/2');
    const { models, health, ready } = machine.core.documents();
    expect(models.corrupt.map(({ path, reason }) => [path, reason])).toEqual([
      ['a.pt', 'it is empty'],
      ['b.pt', 'it has 4 bytes, 5 are expected'],
      ['c.pt', 'its sha256 is not the expected one'],
    ]);
    expect(models.missing.map(({ path }) => path)).toEqual(['d.pt']);
    expect(health.status).toBe('degraded');
    expect(ready.ready).toBe(true);
  });

  it('are hashed once for each size and time', async () => {
    const world = await createWorld();
    world.files.put('/workspace/shared/models/c.pt', 'other');
    machine = await aMachine({ world, config: { models: { required: [{ path: 'c.pt', sha256: '0'.repeat(64) }] } } });
    await machine.core.surveys.models();
    await machine.core.surveys.models();
    expect(machine.wires.count('files.digest')).toBe(1);
    world.files.put('/workspace/shared/models/c.pt', 'newer', { modifiedAt: world.clock.now() + 5 });
    await machine.core.surveys.models();
    expect(machine.wires.count('files.digest')).toBe(2);
  });
});

describe('the shared repository', () => {
  it('is brought up to date before its files are read', async () => {
    const world = await createWorld({
      repositories: { [SHARED]: aRepository('shared', { 'config_nodes.json': configNodes('ComfyUI-One') }) },
    });
    await lab({}, { world, config: { sharedRepository: { url: SHARED } } });
    expect(inputs().packs.map(({ name }) => name)).toEqual(['ComfyUI-One']);
    expect(machine.events('shared.updated')).toHaveLength(1);
  });

  it('with local changes is left alone, and told; what lies there is in force', async () => {
    const world = await createWorld({
      repositories: { [SHARED]: aRepository('shared', { 'config_nodes.json': configNodes('ComfyUI-One') }) },
    });
    await lab({ [NODES]: configNodes('ComfyUI-Mine') }, { world, config: { sharedRepository: { url: SHARED } } });
    expect(inputs()).toMatchObject({
      packs: [{ name: 'ComfyUI-Mine' }],
      problem: { code: 'SHARED_REPOSITORY_DIRTY' },
      installationProblem: null,
    });
  });

  it('is asked for by one at a time', async () => {
    const world = await createWorld({ repositories: { [SHARED]: aRepository('shared', {}) } });
    await lab({}, { world, config: { sharedRepository: { url: SHARED } } });
    const held = machine.wires.hold('git.updateInPlace');
    const both = [machine.core.refreshInputs(), machine.core.refreshInputs()];
    await machine.world.clock.settle();
    expect(held.waiting).toBe(1);
    held.open();
    await Promise.all(both);
  });
});
