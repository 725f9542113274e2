// biome-ignore-all lint/suspicious/noTemplateCurlyInString: ${NAME} is the syntax of the files under test
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { toError } from '../../../../src/plan/configuration/configuration.ts';
import { ENVIRONMENT_NAMES, namesOf } from '../../../../src/plan/configuration/environment-names.ts';
import { acceptedConfig as good, configProblems as problems, readConfig as read } from '../../../support/machine/configuration.ts';

describe('environment', () => {
  it.each<[Record<string, string>, Record<string, unknown>]>([
    [{ MOCK_GPU: '1' }, { mode: 'mock', count: null, mockCount: null }],
    [{ MOCK_GPU: '0' }, { mode: 'actual' }],
    [
      { GPU_MODE: 'mock', NUM_GPUS: '10' },
      { mode: 'mock', count: 10 },
    ],
    [{ GPU_MODE: 'actual', COMFYUI_CPU_ONLY: 'true' }, { mode: 'cpu' }],
    [{ GPU_MODE: 'actual' }, { mode: 'actual' }],
    [{ TEST_GPUS: '3' }, { mode: 'mock', mockCount: 3 }],
    [{ COMFYUI_CPU_MODE: 'yes' }, { mode: 'cpu' }],
    [{ MOCK_GPU: '1', COMFYUI_CPU_ONLY: '1' }, { mode: 'mock' }],
    [{ TEST_MODE: 'true' }, { mode: 'mock' }],
    [{ NUM_GPUS: 'all' }, { mode: 'actual', count: null }],
    [{ NUM_GPUS: '' }, { count: null }],
    [{ COMFYUI_PIN: 'INDEX' }, { pin: 'index' }],
  ])('%j gives gpu %j', (environment, expected) => {
    expect(good(null, environment).config.gpu).toMatchObject(expected);
  });

  it.each<[Record<string, string>, string]>([
    [{ NUM_GPUS: 'two' }, 'NUM_GPUS: gpu.count: found "two"; allowed: a whole number'],
    [{ NUM_GPUS: '0' }, 'NUM_GPUS: gpu.count: found "0"; allowed: a whole number from 1 to 64, or null'],
    [{ MOCK_GPU: 'perhaps' }, 'MOCK_GPU: gpu.mode: found "perhaps"; allowed: true or false (1, 0, yes, no, on, off)'],
    [{ GPU_MODE: 'real' }, 'GPU_MODE: gpu.mode: found "real"; allowed: actual, mock, cpu'],
    [{ ENABLE_COMFYUI: 'si' }, 'ENABLE_COMFYUI: comfyui.enabled: found "si"; allowed: true or false (1, 0, yes, no, on, off)'],
    [
      { COMFY_ARGS: '--x "open' },
      'COMFY_ARGS: comfyui.arguments: found "--x \\"open"; allowed: words as a shell would read them; a quote is not closed',
    ],
    [{ COMFYUI_PORT_START: '99999' }, 'COMFYUI_PORT_START: ports.first: found "99999"; allowed: a whole number from 1 to 65535'],
    [{ AGENT_PM2: 'mine' }, 'AGENT_PM2: pm2.mode: found "mine"; allowed: owned, external'],
    [{ LOG_LEVEL: 'loud' }, 'LOG_LEVEL: log.level: found "loud"; allowed: debug, info, warn, error'],
    [{ COMFYUI_COMMIT: 'HEAD' }, 'COMFYUI_COMMIT: comfyui.commit: found "HEAD"; allowed: a commit is 7 to 40 hexadecimal digits'],
    [{ AGENT_ROOT: 'relative' }, 'AGENT_ROOT: root: found "relative"; allowed: an absolute path'],
  ])('%j is refused by name', (environment, expected) => {
    expect(problems(null, environment)).toEqual([expected]);
  });

  it('refuses a repository that git could not be given, without its password', () => {
    const [problem] = problems(null, { COMFYUI_REPO: 'ext::sh -c "x"' });
    expect(problem).toMatch(/^COMFYUI_REPO: comfyui.repository: .*is not a repository URL; name a repository as/);
    expect(problems(null, { COMFYUI_REPO: 'ftp://me:hunter2@h/x' }).join()).not.toContain('hunter2');
  });

  it('reads the other kinds of values', () => {
    const { config } = good(null, {
      COMFY_ARGS: `--highvram --x 'a b' "c \\"d\\"" e\\ f`,
      COMFYUI_CUSTOM_NODES: ' A, B ,,C',
      PIP_EXTRA_INDEX_URL: 'https://a.example https://b.example',
      UV_FIND_LINKS: '/w1,/w2',
      UV_INDEX_URL: 'https://i.example/simple',
      LOG_LEVEL: 'WARNING',
      LOG_MAX_SIZE: '20m',
      MACHINE_HEALTH_PORT: '9191',
      STORAGE_TEST_MODE: 'true',
      COMFYUI_BASE_PORT: '3188',
    });
    expect(config.comfyui.arguments).toEqual(['--highvram', '--x', 'a b', 'c "d"', 'e f']);
    expect(config.packs).toMatchObject({ names: ['A', 'B', 'C'], testMode: true });
    expect(config.python).toMatchObject({
      indexUrl: 'https://i.example/simple',
      extraIndexUrls: ['https://a.example', 'https://b.example'],
      findLinks: ['/w1', '/w2'],
    });
    expect(config.log).toMatchObject({ level: 'warn', maxFileMb: 20 });
    expect(config).toMatchObject({ api: { port: 9191 }, ports: { first: 3188 } });
  });

  it('warns of ignored and misspelt names', () => {
    expect(good(null, { AGENT_ROOT: '/a', ROOT: '/b', WORKSPACE_PATH: '/a' }).warnings).toEqual([
      'ROOT is ignored, because AGENT_ROOT is set and comes first',
    ]);
    expect(good(null, { COMFYUI_BRNACH: 'x', COMFYUI_TIMEOUT_SECONDS: '3' }).warnings).toEqual([
      'COMFYUI_BRNACH is no variable of the agent; did you mean COMFYUI_BRANCH?',
    ]);
  });

  it('the first name of a setting wins, whatever else is set', () => {
    const multiple = [...new Set(ENVIRONMENT_NAMES.map(([key]) => key))].filter(
      (key) => namesOf(key).length > 1 && ENVIRONMENT_NAMES.some(([k, , value]) => k === key && value.name === 'text'),
    );
    expect(multiple).toEqual(['root', 'comfyui.repository', 'python.indexUrl']);
    fc.assert(
      fc.property(fc.constantFrom(...multiple), fc.subarray([0, 1, 2, 3], { minLength: 1 }), (key, chosen) => {
        const names = namesOf(key).filter((_, index) => chosen.includes(index));
        fc.pre(names.length > 0);
        const { provenance } = good(null, Object.fromEntries(names.map((name) => [name, `/${name}`])));
        expect(provenance.find(({ path }) => path === key)).toMatchObject({
          value: `/${names[0]}`,
          source: 'environment',
          origin: names[0],
        });
      }),
    );
  });

  it('every name leads to a key of the schema', () => {
    const { provenance } = good(null);
    const keys = provenance.map(({ path }) => path);
    expect(ENVIRONMENT_NAMES.map(([key]) => key).filter((key) => !keys.includes(key))).toEqual([]);
  });
});

describe('secrets', () => {
  it('are kept apart from the configuration, and the agent’s own from packs', () => {
    const { secrets, provenance, config } = good(null, {
      AGENT_TOKEN: ' a-l0ng-t0ken ',
      AWS_SECRET_ACCESS_KEY_ENCODED: 'a_SLASH_b_SLASH_',
      HF_TOKEN: 'hf',
    });
    expect(secrets).toMatchObject({ token: 'a-l0ng-t0ken', tokenFile: null, sshKey: null });
    expect(secrets.environment).toEqual({
      AWS_SECRET_ACCESS_KEY_ENCODED: 'a_SLASH_b_SLASH_',
      AWS_SECRET_ACCESS_KEY: 'a/b/',
      HF_TOKEN: 'hf',
    });
    expect(JSON.stringify([provenance, config])).not.toMatch(/t0ken|a\/b/);
    expect(good(null, { AGENT_TOKEN_FILE: '/run/token' }).secrets.tokenFile).toBe('/run/token');
  });

  it('a missing part of the SSH key is told by name; a key file wins', () => {
    const result = read(null, { CUT_PK_1: 'AAAA', CUT_PK_3: 'CCCC' });
    if (result.ok) throw new Error('accepted');
    expect(toError(result.problems).code).toBe('SSH_KEY_INVALID');
    expect(toError(result.problems).message).toContain('CUT_PK_2');
    expect(good(null, { CUT_PK_1: 'AAAA', SSH_KEY_FILE: '/k' }).warnings).toEqual([
      'CUT_PK_1..3 are ignored, because ssh.keyFile (SSH_KEY_FILE) names a key',
    ]);
  });

  it('provenance masks them wherever they stand', () => {
    const text = [
      'comfyui:',
      '  repository: https://me:hunter2@git.example/x.git',
      '  environment: { API_KEY: hunter2, MODE: x, DEEP: "${HF_TOKEN}" }',
      '  arguments: [--api-key, hunter2, --auth-token=hunter2, --fast]',
      'python: { extraRequirements: ["x @ https://u:hunter2@h.example/x.whl"], indexUrl: "https://h.example/simple?token=hunter2" }',
    ].join('\n');
    const { provenance, config } = good(text, { HF_TOKEN: 'hunter2' });
    expect(config.comfyui.environment['DEEP']).toBe('hunter2');
    expect(JSON.stringify(provenance)).not.toContain('hunter2');
    expect(provenance.find(({ path }) => path === 'comfyui.environment')?.value).toMatchObject({ API_KEY: '***', MODE: 'x' });
    expect(provenance.find(({ path }) => path === 'comfyui.arguments')?.value).toEqual(['--api-key', '***', '--auth-token=***', '--fast']);
  });
});
