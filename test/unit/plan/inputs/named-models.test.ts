import { describe, expect, it } from 'vitest';
import { readStaticModels, resolveStaticModels, type StaticPlaces, staticModelsError } from '../../../../src/plan/inputs/static-models.ts';
import { modelsOfGraph } from '../../../../src/plan/inputs/workflow-models.ts';
import { describeProblem } from '../../../../src/plan/text/problem.ts';

const PATH = 'static-models.json';

describe('readStaticModels', () => {
  it('reads links and what is not indexed', () => {
    const text =
      '{"// comment": "x",\n"symlinks": [\n{"source": "a", "target": "b", "description": "d"},\n{"source": "c", "target": "d"}],\n"no_index": [{"path": "p", "reason": "r"}]}';
    expect(readStaticModels(text, { path: PATH })).toEqual({
      ok: true,
      links: [
        { source: 'a', target: 'b', description: 'd', line: 3 },
        { source: 'c', target: 'd', description: null, line: 4 },
      ],
      noIndex: [{ path: 'p', reason: 'r' }],
      warnings: [],
    });
    expect(readStaticModels('{}', { path: PATH })).toMatchObject({ ok: true, links: [], noIndex: [] });
  });

  it.each([
    ['[]', `${PATH}:1: found [], where an object is expected`],
    ['{"symlinks": {}}', `${PATH}:1: symlinks: found {}, where a list is expected`],
    ['{"symlink": []}', `${PATH}:1: there is no key "symlink"; did you mean "symlinks"?`],
    ['{"symlinks": [\n{"source": "a"}]}', `${PATH}:2: symlinks entry 1: it has no target; write "target": "…"`],
    ['{"symlinks": [\n{"source": 5, "target": "b"}]}', `${PATH}:2: symlinks entry 1: source: found 5; write "source": "…"`],
    ['{"symlinks": [\n"a"]}', `${PATH}:2: symlinks entry 1: found "a", where an object is expected`],
    [
      '{"symlinks": [\n{"sorce": "a", "source": "a", "target": "b"}]}',
      `${PATH}:2: symlinks entry 1: there is no key "sorce"; did you mean "source"?`,
    ],
    ['{"symlinks": [}', `${PATH}:1:15: it is not valid JSON`],
  ])('refuses %j', (text, expected) => {
    const result = readStaticModels(text, { path: PATH });
    if (result.ok) throw new Error('accepted');
    expect(result.problems.map(describeProblem)).toEqual([expect.stringContaining(expected)]);
    expect(staticModelsError(result.problems).code).toBe('STATIC_MODELS_INVALID');
  });
});

describe('resolveStaticModels', () => {
  const resolve = (
    pairs: readonly (readonly [source: string, target: string])[],
    existing: readonly string[],
    change: Partial<StaticPlaces> = {},
  ) =>
    resolveStaticModels({
      root: '/w',
      shared: '/w/shared',
      models: '/w/shared/models',
      links: pairs.map(([source, target], index) => ({ source, target, description: null, line: index + 1 })),
      exists: (path) => existing.includes(path),
      ...change,
    });

  it.each([
    ['loras/a.pt', 'loras/b.pt', '/w/shared/sd_models/loras/a.pt', '/w/shared/models/loras/b.pt'],
    ['loras/a.pt', 'models/loras/b.pt', '/w/loras/a.pt', '/w/shared/models/loras/b.pt'],
    ['loras/a.pt', 'ComfyUI/models/loras/b.pt', '/w/shared/loras/a.pt', '/w/shared/models/loras/b.pt'],
    ['shared/sd_models/a.pt', 'shared/models/loras/b.pt', '/w/shared/sd_models/a.pt', '/w/shared/models/loras/b.pt'],
    ['shared/a.pt', 'shared/x/b.pt', '/w/shared/a.pt', '/w/shared/x/b.pt'],
    ['ComfyUI/models/vae/a.pt', 'vae/b.pt', '/w/shared/models/vae/a.pt', '/w/shared/models/vae/b.pt'],
    ['./a//b.pt', '/w/shared/models/c.pt', '/w/shared/sd_models/a/b.pt', '/w/shared/models/c.pt'],
    ['/w/shared/a', 'sub/', '/w/shared/a', '/w/shared/models/sub'],
  ])('%s -> %s', (source, target, found, made) => {
    expect(resolve([[source, target]], [found])).toEqual({
      links: [{ source: found, target: made, description: null }],
      missing: [],
      refused: [],
    });
  });

  it('prefers sd_models, then the root, then the shared folder', () => {
    const all = ['/w/shared/a', '/w/a', '/w/shared/sd_models/a'];
    expect(resolve([['a', 'b']], all).links[0]?.source).toBe('/w/shared/sd_models/a');
    expect(resolve([['a', 'b']], all.slice(0, 2)).links[0]?.source).toBe('/w/a');
  });

  it('follows a models directory outside the root', () => {
    expect(resolve([['/mnt/m/vae/a', 'vae/b']], ['/mnt/m/vae/a'], { models: '/mnt/m' }).links).toEqual([
      { source: '/mnt/m/vae/a', target: '/mnt/m/vae/b', description: null },
    ]);
  });

  it('tells what is missing, and never links a path to itself', () => {
    expect(resolve([['a', 'b']], [])).toEqual({
      links: [],
      missing: [{ source: 'a', target: '/w/shared/models/b', tried: ['/w/shared/sd_models/a', '/w/a', '/w/shared/a'] }],
      refused: [],
    });
    expect(resolve([['shared/models/a', 'a']], ['/w/shared/models/a']).missing).toHaveLength(1);
  });

  it.each([
    ['../a', 'b', '".."'],
    ['a', 'x/../../b', '".."'],
    ['/etc/passwd', 'b', 'outside the root'],
    ['/w2/a', 'b', 'outside the root'],
    ['a', '/etc/b', 'neither in the shared folder'],
    ['a', '/w/releases/r1/x', 'neither in the shared folder'],
    ['a', 'ComfyUI/custom_nodes/x', 'neither in the shared folder'],
  ])('refuses %s -> %s', (source, target, word) => {
    const { links, refused } = resolve([[source, target]], ['/w/shared/sd_models/a', '/etc/passwd', '/w2/a']);
    expect(links).toEqual([]);
    expect(refused).toEqual([expect.objectContaining({ source, target, line: 1, reason: expect.stringContaining(word) })]);
  });

  it('refuses two sources for one target; the same entry twice is one', () => {
    const existing = ['/w/a', '/w/b'];
    const { links, refused } = resolve(
      [
        ['a', 'x'],
        ['b', 'models/x'],
        ['a', 'x'],
      ],
      existing,
    );
    expect(links).toHaveLength(1);
    expect(refused).toEqual([expect.objectContaining({ source: 'b', reason: 'its target is already a link to /w/a' })]);
  });
});

describe('modelsOfGraph', () => {
  const api = (class_type: string, inputs: object) => ({ '1': { class_type, inputs } });
  it.each([
    ['CheckpointLoaderSimple', { ckpt_name: 'sd/x.safetensors' }, 'checkpoints', ['checkpoints']],
    ['LoraLoader', { lora_name: 'a\\b.pt', strength: 1, model: ['2', 0] }, 'loras', ['loras']],
    ['CLIPVisionLoader', { clip_name: 'v.safetensors' }, 'clip_vision', ['clip_vision']],
    ['UNETLoader', { unet_name: 'u.sft' }, 'diffusion_models', ['diffusion_models', 'unet']],
    ['SomePackLoader', { control_net_name: 'c.pth' }, 'controlnet', ['controlnet', 't2i_adapter']],
    ['UpscaleModelLoader', { model_name: 'u.pth' }, 'upscale_models', ['upscale_models']],
    ['SomePackLoader', { model_name: 'x.gguf' }, null, []],
    ['constructor', { hasOwnProperty: 'x.onnx' }, null, []],
  ])('%s %j', (nodeClass, inputs, category, folders) => {
    const name = String(Object.values(inputs)[0]).replaceAll('\\', '/');
    expect(modelsOfGraph(api(nodeClass, inputs))).toEqual([{ name, category, folders, nodeClass }]);
  });

  it('names each file once, and several of one node', () => {
    const graph = {
      prompt: {
        '1': { class_type: 'DualCLIPLoader', inputs: { clip_name1: 'a.safetensors', clip_name2: 'b.safetensors', type: 'flux' } },
        '2': { class_type: 'CLIPLoader', inputs: { clip_name: 'a.safetensors' } },
        '3': {
          class_type: 'Power Lora Loader',
          inputs: { lora_1: { on: true, lora: 'l.safetensors' }, lora_2: { on: false, lora: 'off.safetensors' } },
        },
      },
    };
    expect(modelsOfGraph(graph).map(({ name, category }) => [name, category])).toEqual([
      ['a.safetensors', 'text_encoders'],
      ['b.safetensors', 'text_encoders'],
      ['l.safetensors', 'loras'],
    ]);
  });

  it('reads the editor’s format: widgets, sub-graphs; muted and bypassed nodes need nothing', () => {
    const graph = {
      version: 0.4,
      nodes: [
        { type: 'CheckpointLoaderSimple', mode: 0, widgets_values: ['x.ckpt'] },
        { type: 'LoraLoader', mode: 4, widgets_values: ['bypassed.pt', 1] },
        { type: 'LoraLoader', mode: 2, widgets_values: ['muted.pt', 1] },
        { type: 'PackLoader', widgets_values: { vae_name: 'v.pt' } },
        { type: 'PackLoader', inputs: [{ name: 'lora_name', widget: { name: 'lora_name' } }], widgets_values: ['w.pt'] },
        { type: 'Note', widgets_values: null },
      ],
      definitions: { subgraphs: [{ nodes: [{ type: 'VAELoader', widgets_values: ['inner.safetensors'] }] }] },
    };
    expect(modelsOfGraph(graph).map(({ name, category }) => [name, category])).toEqual([
      ['x.ckpt', 'checkpoints'],
      ['v.pt', 'vae'],
      ['w.pt', 'loras'],
      ['inner.safetensors', 'vae'],
    ]);
  });

  it.each([
    [null],
    [5],
    ['x'],
    [[]],
    [{}],
    [{ '1': null }],
    [{ '1': { class_type: 5, inputs: {} } }],
    [{ nodes: [null, { type: 'X' }] }],
    [{ nodes: 5 }],
  ])('finds nothing in %j', (graph) => {
    expect(modelsOfGraph(graph)).toEqual([]);
  });

  it('takes links, escapes and other words for no files', () => {
    expect(modelsOfGraph(api('X', { a: 'https://h.example/x.safetensors', b: '../x.pt', c: 'picture.png', d: 'taesd' }))).toEqual([]);
  });
});
