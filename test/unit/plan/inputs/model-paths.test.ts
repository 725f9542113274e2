// biome-ignore-all lint/suspicious/noTemplateCurlyInString: ${NAME} is the syntax of the files under test
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { directoryConfigError, readDirectoryConfig } from '../../../../src/plan/inputs/directory-config.ts';
import { type ModelPathsInput, modelPathsFile } from '../../../../src/plan/inputs/model-paths.ts';
import { describeProblem } from '../../../../src/plan/text/problem.ts';

const PATH = '/workspace/shared/comfy_dir_config.yaml';
const read = (text: string, environment: Record<string, string> = {}) => {
  const result = readDirectoryConfig(text, { path: PATH, environment });
  if (!result.ok) throw new Error(result.problems.map(describeProblem).join('\n'));
  return {
    sections: result.sections,
    warnings: result.warnings.map(describeProblem),
    paths: result.sections.flatMap(({ categories }) => categories.map(({ name, paths }) => [name, paths])),
  };
};
const problems = (text: string): string[] => {
  const result = readDirectoryConfig(text, { path: PATH, environment: {} });
  return result.ok ? [] : result.problems.map(describeProblem);
};

describe('readDirectoryConfig', () => {
  it('reads the shared form', () => {
    const { paths, warnings } = read(
      'comfyui:\n  base_path: /workspace/shared\n  custom_nodes: custom_nodes/\n  checkpoints: models/checkpoints\n',
    );
    expect(paths).toEqual([
      ['custom_nodes', ['/workspace/shared/custom_nodes']],
      ['checkpoints', ['/workspace/shared/models/checkpoints']],
    ]);
    expect(warnings).toEqual([]);
  });

  it('reads the long form, and says what its directory keys do not do', () => {
    const { sections, warnings } = read(
      'comfyui:\n  base_path: /workspace/ComfyUI\n  is_default: yes\n  checkpoints: models/checkpoints\n  animatediff_models: models/animatediff\n  input: input/\n  user: user/\n',
    );
    expect(sections[0]).toMatchObject({ name: 'comfyui', isDefault: true });
    expect(sections[0]?.categories.map(({ name }) => name)).toEqual(['checkpoints', 'animatediff_models', 'input', 'user']);
    expect(warnings).toEqual([
      `${PATH}:6: section comfyui: input is only a search path for models; the agent tells ComfyUI that directory with --input-directory; this line can be removed`,
      `${PATH}:7: section comfyui: user is only a search path for models; the agent tells ComfyUI that directory with --user-directory; this line can be removed`,
    ]);
  });

  it.each<[string, Record<string, string>, string[]]>([
    ['a: { loras: loras }', {}, ['/workspace/shared/loras']],
    ['a: { base_path: ../x, loras: loras }', {}, ['/workspace/x/loras']],
    ['a: { base_path: $B/y, loras: /abs/loras }', { B: '/b' }, ['/abs/loras']],
    ['a: { base_path: "${B}", loras: "$C/loras" }', { B: '/b', C: 'c' }, ['/b/c/loras']],
    ['a: { base_path: ~/m, loras: x }', { HOME: '/h' }, ['/h/m/x']],
    ['a:\n  loras: |\n    one\n    two\n\n    three\n', {}, ['/workspace/shared/one', '/workspace/shared/two', '/workspace/shared/three']],
    ['base: &b { base_path: /b }\na: { <<: *b, loras: x }', {}, ['/b/x']],
  ])('%j', (text, environment, expected) => {
    expect(read(text, environment).paths).toEqual([['loras', expected]]);
  });

  it('takes lists, with a clear word', () => {
    const { paths, warnings } = read('a:\n  loras: [x, y]\n');
    expect(paths).toEqual([['loras', ['/workspace/shared/x', '/workspace/shared/y']]]);
    expect(warnings).toEqual([
      `${PATH}:2: section a: loras is a list, which ComfyUI itself cannot read; the agent gives it the same paths as lines; write "loras: |" and one path on each line below`,
    ]);
  });

  it('leaves out what names a variable that is not set', () => {
    const { paths, warnings } = read('a: { base_path: $NO, loras: x }\nb:\n  vae: |\n    $NO/x\n    y\nc:\n');
    expect(paths).toEqual([['vae', ['/workspace/shared/y']]]);
    expect(warnings).toHaveLength(2);
  });

  it('takes an empty file as nothing', () => {
    expect(read('# nothing\n')).toMatchObject({ sections: [], warnings: [] });
  });

  it.each([
    ['- a\n', 'found ["a"], where sections are expected'],
    ['a: models\n', 'section a: found "models", where categories with paths are expected'],
    ['a: { loras: 5 }\n', 'section a: loras: found 5, where a path is expected'],
    ['a: { loras: { x: y } }\n', 'loras: found {"x":"y"}'],
    ['a: { loras: [1] }\n', 'loras: found [1]'],
    ['a: { base_path: [x] }\n', 'base_path: found ["x"]; write one path'],
    ['a: { is_default: maybe }\n', 'is_default: found "maybe"; write true or false'],
    ['a:\n  loras: x\n  loras: y\n', 'Map keys must be unique'],
    ['a:\n\tloras: x\n', ':2:'],
  ])('refuses %j', (text, word) => {
    expect(problems(text).join('\n')).toContain(word);
  });

  it('gives a registered error', () => {
    const result = readDirectoryConfig('a: 5', { path: PATH, environment: {} });
    expect(result.ok ? null : directoryConfigError(result.problems).code).toBe('PATHS_FILE_INVALID');
  });
});

describe('modelPathsFile', () => {
  const RELEASE = '/workspace/releases/r1/ComfyUI/custom_nodes';
  const make = (text: string, change: Partial<ModelPathsInput> = {}) => {
    const file = modelPathsFile({
      sections: read(text).sections,
      modelsDirectory: '/workspace/shared/models',
      exists: () => true,
      releaseCustomNodes: [RELEASE, '/workspace/ComfyUI/custom_nodes'],
      allowedPackDirs: [],
      ...change,
    });
    return { ...file, content: parse(file.yaml, { version: '1.1', schema: 'yaml-1.1' }) as Record<string, Record<string, unknown>> };
  };

  it('lists the agent’s own models first, as text, in ASCII', () => {
    const { content, yaml } = make('theirs: { base_path: "/mnt/größe 😀", is_default: true, loras: "a\\"b" }');
    expect(Object.keys(content)).toEqual(['comfylet', 'theirs']);
    expect(content['comfylet']).toMatchObject({
      checkpoints: '/workspace/shared/models/checkpoints',
      text_encoders: '/workspace/shared/models/text_encoders\n/workspace/shared/models/clip',
    });
    expect(content['theirs']).toEqual({ is_default: true, loras: '/mnt/größe 😀/a"b' });
    expect(yaml).toMatch(/^[\n -~]+$/);
    expect(Object.values(content).flatMap(Object.values).filter(Array.isArray)).toEqual([]);
  });

  it('leaves packs outside the release out, unless their directory is allowed', () => {
    const text = 'a: { base_path: /workspace/shared, custom_nodes: custom_nodes, vae: vae }\n';
    const refused = make(text);
    expect(refused.content['a']).toEqual({ vae: '/workspace/shared/vae' });
    expect(refused.warnings).toEqual([
      'the packs in /workspace/shared/custom_nodes are not loaded, because they lie outside the release; add the directory to packs.directories if they should be',
    ]);
    const allowed = make(text, { allowedPackDirs: ['/workspace/shared'] });
    expect(allowed.content['a']).toMatchObject({ custom_nodes: '/workspace/shared/custom_nodes' });
    expect(allowed.packDirectories).toEqual(['/workspace/shared/custom_nodes']);
    expect(make(text, { allowedPackDirs: ['/workspace/sha'] }).packDirectories).toEqual([]);
  });

  it('leaves a missing pack directory out, because ComfyUI would not start', () => {
    const { content, warnings, packDirectories } = make('a: { custom_nodes: /mnt/packs }', {
      allowedPackDirs: ['/mnt/packs'],
      exists: () => false,
    });
    expect(content['a']).toBeUndefined();
    expect(packDirectories).toEqual([]);
    expect(warnings[0]).toMatch(/\/mnt\/packs does not exist and is left out/);
  });

  it('says nothing about the release’s own packs, which are loaded anyway', () => {
    expect(make('a: { base_path: /workspace/ComfyUI, custom_nodes: custom_nodes/ }')).toMatchObject({ warnings: [], packDirectories: [] });
  });

  it('keeps model folders that do not exist yet, and says so', () => {
    const { content, warnings } = make('comfylet: { loras: /mnt/loras }', { exists: () => false });
    expect(content['comfylet_2']).toEqual({ loras: '/mnt/loras' });
    expect(warnings).toEqual(['comfylet.loras: /mnt/loras does not exist yet; nothing is found there']);
  });
});
