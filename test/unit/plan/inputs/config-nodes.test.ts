// biome-ignore-all lint/suspicious/noTemplateCurlyInString: ${NAME} is the syntax of the files under test
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { PackSpec } from '../../../../src/domain/installation/release.ts';
import { configNodesError, readConfigNodes } from '../../../../src/plan/inputs/config-nodes.ts';
import { describeProblem } from '../../../../src/plan/text/problem.ts';

const PATH = 'config_nodes.json';
const options = { path: PATH, names: null };
const file = (...entries: unknown[]): string => JSON.stringify({ custom_nodes: entries }, null, 1);
const read = (text: string, names: readonly string[] | null = null) => {
  const result = readConfigNodes(text, { path: PATH, names });
  if (!result.ok) throw new Error(result.problems.map(describeProblem).join('\n'));
  return { packs: result.packs, warnings: result.warnings.map(describeProblem) };
};
const problems = (text: string, change: Partial<Parameters<typeof readConfigNodes>[1]> = {}): string[] => {
  const result = readConfigNodes(text, { ...options, ...change });
  return result.ok ? [] : result.problems.map(describeProblem);
};

const plain = { name: 'A', url: 'https://example.com/a.git', requirements: true };
const spec: PackSpec = {
  name: 'A',
  url: 'https://example.com/a.git',
  branch: null,
  commit: null,
  recursive: false,
  requirements: true,
  env: {},
  customScript: null,
};

describe('readConfigNodes', () => {
  it('reads every key that the predecessor wrote', () => {
    const commit = 'f'.repeat(40);
    const env = { AWS_ACCESS_KEY_ID: '${AWS_ACCESS_KEY_ID}', FIXED: 'x' };
    const { packs, warnings } = read(
      file({
        ...plain,
        requirements: false,
        recursive: true,
        branch: 'add-video-dependencies',
        commit,
        env,
        custom_script: 'mv a b',
        '// note': 1,
        description: 'x',
      }),
    );
    expect(packs).toEqual([
      { ...spec, requirements: false, recursive: true, branch: 'add-video-dependencies', commit, env, customScript: 'mv a b' },
    ]);
    expect(warnings).toEqual([]);
  });

  it.each<[string, Partial<PackSpec>, string[]]>([
    ['git clone https://example.com/a.git', {}, ['its url begins with "git clone", which is left out']],
    ['git  clone --recursive https://example.com/a.git', { recursive: true }, ['its url begins with']],
    ['git clone -b dev --depth 1 https://example.com/a.git A', { branch: 'dev' }, ['its url begins with']],
    [
      'git clone --branch=dev --depth=1 "https://example.com/a.git" custom_nodes/Other/',
      { branch: 'dev' },
      ['its url begins with', 'its url names the folder Other'],
    ],
    ['git clone -- https://example.com/a.git', {}, ['its url begins with']],
    ['http://example.com/a.git', { url: 'http://example.com/a.git' }, ['its url uses http']],
    ['git@github.com:me/a.git', { url: 'git@github.com:me/a.git' }, []],
    ['ssh://git@host:22/me/a.git', { url: 'ssh://git@host:22/me/a.git' }, []],
    ['file:///srv/a.git', { url: 'file:///srv/a.git' }, []],
    [' /srv/a.git ', { url: '/srv/a.git' }, []],
  ])('url %j', (url, expected, words) => {
    const { packs, warnings } = read(file({ ...plain, url }));
    expect(packs).toEqual([{ ...spec, ...expected }]);
    expect(warnings).toHaveLength(words.length);
    for (const [index, start] of words.entries()) expect(warnings[index]).toContain(`${PATH}:5: pack A: ${start}`);
  });

  it.each([
    ['ext::sh -c "touch /tmp/x"', 'cannot be used'],
    ['--upload-pack=touch /tmp/x', 'cannot be used'],
    ['git clone --upload-pack=evil https://example.com/a', 'with the option --upload-pack'],
    ['git clone -c core.x=y https://example.com/a', 'with the option -c'],
    ['git clone "https://example.com/a', 'open quote'],
    ['git clone https://a.example/a b c', 'cannot be understood'],
    ['git clone', 'cannot be used'],
    ['git://example.com/a.git', 'uses git://'],
    ['../a', 'is a relative path'],
    ['ftp://example.com/a', 'cannot be used'],
    ['https://me:hunter2@example.com/a.git', 'user name or password'],
    ['https://github.com/me/a/tree/main', 'write "url": "https://github.com/me/a" and "branch" or "commit": "main"'],
    ['', 'it has no url'],
    [7, 'url: found 7'],
  ])('refuses url %j', (url, word) => {
    const [problem, ...rest] = problems(file({ ...plain, url }));
    expect(rest).toEqual([]);
    expect(problem).toMatch(/^config_nodes\.json:5: pack A: /);
    expect(problem).toContain(word);
    expect(problem).not.toContain('hunter2');
  });

  it.each([
    ['../evil', 'path separator'],
    ['a/b', 'path separator'],
    ['a\\b', 'path separator'],
    ['..', 'begins with .'],
    ['.hidden', 'begins with .'],
    ['-rf', 'begins with -'],
    ['a\nb', 'cannot be the name of a folder'],
    ['Comfy\u202eIU', '"Comfy\\u202eIU" cannot be the name of a folder'],
    ['Comfy\u200bUI', '"Comfy\\u200bUI" cannot be the name of a folder'],
    ['x.disabled', 'does not load'],
    [5, 'name: found 5'],
    [undefined, 'it has no name; write "name": the folder below custom_nodes'],
  ])('refuses name %j', (name, word) => {
    expect(problems(file({ ...plain, name })).join()).toContain(word);
  });

  it.each<[object, string]>([
    [{ commit: 'main' }, 'pack A: commit: found "main"; write 7 to 40 hexadecimal digits'],
    [{ branch: '--x' }, 'pack A: branch: "--x" cannot be the name of a branch or tag'],
    [{ branch: 'x', url: 'git clone -b y https://example.com/a' }, 'branch is "x", but the git clone command of url names "y"'],
    [{ requirements: 'maybe' }, 'pack A: requirements: found "maybe"; write true or false'],
    [{ env: ['A'] }, 'pack A: env: found ["A"]'],
    [{ env: { 'A B': 'x' } }, 'env: "A B" cannot be the name of a variable'],
    [{ env: { A: {} } }, 'env: A is no text'],
    [{ custom_script: ['x'] }, 'custom_script: found ["x"]; write text in quotes'],
    [{ requirement: true }, 'there is no key "requirement"; did you mean "requirements"?'],
    [{ customScript: 'x' }, 'there is no key "customScript"; did you mean "custom_script"?'],
    [{ repositoryUrl: 'https://example.com/b' }, 'url and repositoryUrl of A differ'],
    [{ install_order: 'x' }, 'install_order: found "x"'],
  ])('refuses %j', (change, word) => {
    const found = problems(file({ ...plain, ...change }));
    expect(found).toHaveLength(1);
    expect(found[0]).toContain(word);
  });

  it.each([
    ...['LD_PRELOAD', 'LD_LIBRARY_PATH', 'PYTHONPATH', 'PYTHONSTARTUP', 'GIT_SSH_COMMAND', 'GIT_CONFIG_COUNT', 'UV_INDEX', 'PIP_INDEX_URL'],
    ...['NODE_OPTIONS', 'PM2_HOME', 'AGENT_TOKEN', 'COMFYLET_CALL', 'CUT_PK_1', 'PATH', 'HOME', 'BASH_ENV', 'VIRTUAL_ENV', 'TMPDIR'],
    ...['ld_preload', 'Path', 'GCONV_PATH', 'GLIBC_TUNABLES', 'XDG_CONFIG_HOME', 'SSH_ASKPASS'],
  ])('refuses env %s, which is for another program', (name) => {
    const found = problems(file(plain, { ...plain, name: 'B', url: 'https://example.com/b', env: { MINE: 'x', [name]: 'hunter2' } }));
    expect(found).toHaveLength(1);
    expect(found[0]).toMatch(new RegExp(`pack B: env: ${name} is not for a pack to set: it changes how .+ works; remove it`));
    expect(found[0]).not.toContain('hunter2');
  });

  it('takes every name that packs are known to want', () => {
    // Those of the predecessor's lists, and what begins like a name that is refused.
    const names = [
      ...['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY_ENCODED', 'AWS_DEFAULT_REGION', 'GOOGLE_APPLICATION_CREDENTIALS'],
      ...['AZURE_STORAGE_ACCOUNT', 'AZURE_STORAGE_KEY', 'CLOUD_STORAGE_CONTAINER', 'CLOUD_PROVIDER', 'CLOUD_CDN_URL', 'STATIC_MODELS'],
      ...['EMPROPS_DEBUG_LOGGING', 'HF_TOKEN', 'HF_HOME', 'CIVITAI_TOKEN', 'OLLAMA_HOST', 'OLLAMA_PORT', 'OPENAI_API_KEY'],
      ...[
        'PYTORCH_CUDA_ALLOC_CONF',
        'GITHUB_TOKEN',
        'HOMEPAGE',
        'PATH_TO_MODELS',
        'MY_PATH',
        'USER_AGENT',
        'XDG_CACHE_HOME',
        'HTTPS_PROXY',
      ],
    ];
    const env = Object.fromEntries(names.map((name) => [name, `\${${name}}`]));
    expect(read(file({ ...plain, env })).packs).toEqual([{ ...spec, env }]);
  });

  it.each<[object, Partial<PackSpec>, string]>([
    [{ env: { N: 5, B: true, Z: null } }, { env: { N: '5', B: 'true', Z: '' } }, 'env: N is 5, taken as text'],
    [{ env: { A: '$HOME/x' } }, { env: { A: '$HOME/x' } }, 'env: A is kept as written'],
    [{ recursive: 'true' }, { recursive: true }, 'recursive is the text "true"'],
    [{ colour: 'red' }, {}, 'the key "colour" is not known and has no effect'],
  ])('takes %j with a warning', (change, expected, word) => {
    const { packs, warnings } = read(file({ ...plain, ...change }));
    expect(packs).toEqual([{ ...spec, ...expected }]);
    expect(warnings[0]).toContain(word);
  });

  it('strict: every unknown key is a problem', () => {
    expect(problems(file({ ...plain, colour: 'red' }), { strict: true })).toEqual([
      expect.stringContaining('there is no key "colour"; known are name, url'),
    ]);
  });

  it('names both lines of a name that stands twice', () => {
    const text =
      '{"custom_nodes": [\n{"name": "A", "url": "https://example.com/a"},\n{"name": "B", "url": "https://example.com/b"},\n{"name": "A", "url": "https://example.com/c"}]}';
    expect(problems(text)).toEqual([`${PATH}:4: pack A: the name stands twice, in lines 2 and 4; remove one of them`]);
    const same = text
      .replaceAll('"A"', '"C"')
      .replace('{"name": "C", "url": "https://example.com/c"}', '{"name": "D", "url": "https://example.com/A.git/"}');
    expect(read(same).warnings).toEqual([`${PATH}:4: pack D: it has the same url as pack C (line 2); remove one of them`]);
  });

  it('reads the API form: repositoryUrl, install_order with null last, then by name', () => {
    const entry = (name: string, order?: number | null) => ({
      name,
      repositoryUrl: `https://example.com/${name}`,
      requirements: true,
      is_default: false,
      ...(order === undefined ? {} : { install_order: order }),
    });
    const text = JSON.stringify([entry('Z', null), entry('B', 2), entry('Y'), entry('C', 1), entry('A', 2)]);
    expect(read(text).packs.map(({ name }) => name)).toEqual(['C', 'A', 'B', 'Y', 'Z']);
  });

  it.each<[string, string]>([
    [
      '{"custom_nodes": [\n  {"name": "A",},\n]}',
      `${PATH}:2:16: it is not valid JSON: Expected double-quoted property name: {"name": "A",},`,
    ],
    ['{"custom_nodes": [\n  1,\n]}', `${PATH}:3:1: it is not valid JSON: there is a comma before this ]: ]}`],
    ['{\n// hello\n"custom_nodes": []}', `${PATH}:2:1: it is not valid JSON: Expected property name or '}': // hello`],
    ['{"custom_nodes":\n [1, // x\n 2]}', `${PATH}:2:6: it is not valid JSON: JSON has no comments: [1, // x`],
    ['{"custom_nodes": [', `${PATH}:1:19: it is not valid JSON: it ends too early: {"custom_nodes": [`],
    ['', `${PATH}:1:1: it is not valid JSON: it ends too early`],
    ['custom_nodes: []', `${PATH}:1:1: it is not valid JSON: unexpected "c": custom_nodes: []`],
    ['{"custom_nodes":\n[\'a\']}', `${PATH}:2:2: it is not valid JSON: JSON wants double quotes: ['a']}`],
    ['{"custom_nodes": }', `${PATH}:1:18: it is not valid JSON: unexpected }: {"custom_nodes": }`],
    ['{"custom_nodes": [], "custom_nodes": []}', `${PATH}:1:22: the key "custom_nodes" stands twice in one object; remove one of them`],
    ['[]]', `${PATH}:1:3: it is not valid JSON: Unexpected non-whitespace character after JSON: []]`],
    ['{}', `${PATH}:1: there is no key "custom_nodes"; write {"custom_nodes": [ … ]}`],
    ['{"customNodes": []}', `${PATH}:1: there is no key "custom_nodes", only "customNodes"; write {"custom_nodes": [ … ]}`],
    ['{"custom_nodes": {}}', `${PATH}:1: custom_nodes: found {}, where a list is expected; write {"custom_nodes": [ … ]}`],
    ['null', `${PATH}:1: found null, where an object is expected; write {"custom_nodes": [ … ]}`],
    [
      '{"custom_nodes": [\n null]}',
      `${PATH}:2: entry 1: found null, where a pack is expected; write {"name": "…", "url": "https://…", "requirements": true}`,
    ],
  ])('tells where %j is wrong', (text, expected) => {
    expect(problems(text)).toEqual([expected]);
  });

  it('allows repeated comment keys, a byte order mark and tabs', () => {
    const text =
      '\uFEFF{\n\t"//": 1,\n\t"//": 2,\n\t"custom_nodes": [\n\t\t{"name": "A",\t"url": "https://example.com/a.git", "requirements": true, "commit": 5}]}';
    expect(problems(text)).toEqual([`${PATH}:5: pack A: commit: found 5; write text in quotes`]);
  });

  it('selects by name, in the order of the file, and names what is unknown with the nearest', () => {
    const text = file({ ...plain }, { ...plain, name: 'ComfyUI-Manager', url: 'https://example.com/m' });
    expect(read(text, ['ComfyUI-Manager', 'A']).packs.map(({ name }) => name)).toEqual(['A', 'ComfyUI-Manager']);
    expect(read(text, []).packs).toEqual([]);
    expect(problems(text, { names: ['comfyui_manager', 'Zzzzzz'] })).toEqual([
      `${PATH}: it has no pack "comfyui_manager", which COMFYUI_CUSTOM_NODES (packs.names) asks for; did you mean ComfyUI-Manager? Correct COMFYUI_CUSTOM_NODES or packs.names`,
      `${PATH}: it has no pack "Zzzzzz", which COMFYUI_CUSTOM_NODES (packs.names) asks for; correct COMFYUI_CUSTOM_NODES or packs.names`,
    ]);
  });

  it('gives one error with the first problem, its fix, and all lines', () => {
    const result = readConfigNodes(file({ ...plain, commit: 'x' }, { name: 'B' }), options);
    if (result.ok) throw new Error('accepted');
    const error = configNodesError(result.problems);
    expect(error).toMatchObject({
      code: 'CONFIG_NODES_INVALID',
      message: `${PATH}:7: pack A: commit: found "x" (first of 2 problems)`,
      help: 'write 7 to 40 hexadecimal digits; a branch or tag goes into "branch"',
    });
    expect(error.details['problems']).toHaveLength(2);
  });

  const name = fc
    .stringMatching(/^[A-Za-z0-9_][\w.+ -]{0,20}[A-Za-z0-9_]$/)
    .filter((text) => !text.endsWith('.disabled') && text !== '__pycache__');
  const url = fc.oneof(
    fc.webUrl({ validSchemes: ['https'] }),
    fc.stringMatching(/^git@[a-z]{1,8}\.com:[a-z]{1,8}\/[a-z]{1,8}\.git$/),
    fc.stringMatching(/^git clone (--recursive |-b [a-z]+ )?https:\/\/[a-z]{1,8}\.com\/[a-z]{1,8}$/),
  );
  const entry = fc.record(
    {
      name,
      url,
      requirements: fc.boolean(),
      recursive: fc.boolean(),
      branch: fc.stringMatching(/^[a-z0-9][a-z0-9-]{0,10}$/),
      commit: fc.stringMatching(/^[0-9a-f]{7,40}$/),
      env: fc.dictionary(fc.stringMatching(/^[A-Z_][A-Z0-9_]{0,10}$/), fc.oneof(fc.string(), fc.integer(), fc.boolean())),
      custom_script: fc.string(),
      install_order: fc.option(fc.integer()),
    },
    { requiredKeys: ['name', 'url'] },
  );

  it('what is accepted is accepted again as it was understood, without a word', () => {
    fc.assert(
      fc.property(fc.uniqueArray(entry, { selector: (each) => each.name, maxLength: 5 }), (entries) => {
        const first = readConfigNodes(file(...entries), options);
        if (!first.ok) return;
        const written = first.packs.map(({ customScript, branch, commit, ...rest }) => ({
          ...rest,
          ...(branch === null ? {} : { branch }),
          ...(commit === null ? {} : { commit }),
          ...(customScript === null ? {} : { custom_script: customScript }),
        }));
        const second = read(file(...written));
        expect(second.packs).toEqual(first.packs);
        expect(second.warnings.filter((warning) => !/same url|kept as written/.test(warning))).toEqual([]);
      }),
    );
  });

  it('never throws, whatever the text', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.json(),
          fc.array(fc.jsonValue()).map((entries) => JSON.stringify({ custom_nodes: entries })),
        ),
        (text) => typeof readConfigNodes(text, options).ok === 'boolean',
      ),
    );
  });
});
