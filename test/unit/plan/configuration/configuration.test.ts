// biome-ignore-all lint/suspicious/noTemplateCurlyInString: ${NAME} is the syntax of the files under test
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Config } from '../../../../src/domain/configuration/config.ts';
import { readConfiguration, toError } from '../../../../src/plan/configuration/configuration.ts';
import { layoutOf } from '../../../../src/plan/configuration/layout.ts';
import { configurationFile } from '../../../../src/plan/configuration/location.ts';
import { FILE, acceptedConfig as good, configProblems as problems, readConfig as read } from '../../../support/machine/configuration.ts';

describe('readConfiguration', () => {
  it('gives the defaults when nobody says anything', () => {
    const { config, provenance, warnings } = good(null);
    expect(config).toEqual(Config.parse({}));
    expect(warnings).toEqual([]);
    expect(provenance).toContainEqual({ path: 'health.http.periodMs', value: 2000, source: 'default', origin: null });
    expect(provenance.every(({ source }) => source === 'default')).toBe(true);
  });

  it('merges key by key: defaults < file < environment < flags', () => {
    const text = 'root: /file\nports: { first: 9000, onConflict: next }\napi:\n  port: 1111\n  host: 0.0.0.0\n';
    const { config, provenance } = good(text, { AGENT_ROOT: '/environment', AGENT_PORT: '2222' }, [
      { key: 'root', value: '/flag', flag: '--root' },
    ]);
    expect(config.root).toBe('/flag');
    expect(config.api).toMatchObject({ port: 2222, host: '0.0.0.0' });
    expect(config.ports).toEqual({ first: 9000, onConflict: 'next' });
    const origins = Object.fromEntries(provenance.map(({ path, source, origin }) => [path, [source, origin]]));
    expect(origins).toMatchObject({
      root: ['flag', '--root'],
      'api.port': ['environment', 'AGENT_PORT'],
      'api.host': ['file', FILE],
      'api.maxStreams': ['default', null],
    });
  });

  it('replaces lists as a whole', () => {
    expect(good('comfyui: { arguments: [--a, --b] }', { COMFY_ARGS: '--c' }).config.comfyui.arguments).toEqual(['--c']);
  });

  it.each([
    ['gpu:\n  mode: banana\n', [`${FILE}:2: gpu.mode: found "banana"; allowed: actual, mock, cpu`]],
    ['gpu:\n  count: 0\n', [`${FILE}:2: gpu.count: found 0; allowed: a whole number from 1 to 64, or null`]],
    ['\nprots:\n  first: 1\n', [`${FILE}:2: prots: there is no such key; did you mean ports?`]],
    ['gpu:\n  mode: mock\n  modee: mock\n', [`${FILE}:3: gpu.modee: there is no such key in gpu; did you mean gpu.mode?`]],
    ['tokenFile: /x\n', [`${FILE}:1: tokenFile: there is no such key; did you mean api.tokenFile?`]],
    ['COMFYUI_REPO: x\n', [`${FILE}:1: COMFYUI_REPO: is the name of an environment variable; the key is comfyui.repository`]],
    [
      'api:\n  token: hunter2\n',
      [
        `${FILE}:2: api.token: there is no such key in api: secrets are given by environment (AGENT_TOKEN) or in files of their own (api.tokenFile, ssh.keyFile)`,
      ],
    ],
    ['log:\n  level:\n', [`${FILE}:2: log.level: is empty; allowed: debug, info, warn, error`]],
    ['packs: 5\n', [`${FILE}:1: packs: found 5; allowed: a section with file, names, directories, testMode, customScripts…`]],
    ['comfyui:\n  commit: zz\n', [`${FILE}:2: comfyui.commit: found "zz"; allowed: a commit is 7 to 40 hexadecimal digits`]],
    [
      'models:\n  required:\n    - a.safetensors\n    - { path: b, sha256: q }\n',
      [`${FILE}:4: models.required[1].sha256: found "q"; allowed: invalid string: must match pattern /^[0-9a-f]{64}$/i`],
    ],
    [
      'models:\n  required:\n    - { path: b, size: 1 }\n',
      [`${FILE}:3: models.required[0]: there is no such key: size; allowed: a list of text or {path, sha256?, sizeBytes?}`],
    ],
    [
      'comfyui:\n  arguments: [--listen]\n',
      [`${FILE}:2: comfyui.arguments: --listen is set by the agent; use comfyui.listen (COMFYUI_LISTEN)`],
    ],
    [
      'comfyui: { arguments: [--port=8000] }\n',
      [`${FILE}:1: comfyui.arguments: --port is set by the agent; use ports.first (COMFYUI_PORT_START)`],
    ],
    [
      'comfyui: { arguments: [--tls-keyfile, /k.pem, --tls-certfile=/c.pem] }\n',
      ['--tls-keyfile', '--tls-certfile'].map(
        (flag) =>
          `${FILE}:1: comfyui.arguments: ${flag} cannot be used: the agent asks ComfyUI over plain HTTP; put a TLS proxy (nginx, Caddy) before it instead`,
      ),
    ],
    [
      'ports: { first: 65535 }\ngpu: { count: 2 }\n',
      [`${FILE}:1: ports.first: found 65535; with 2 GPUs the last port would be 65536, and 65535 is the highest`],
    ],
    ['ports: { first: 65530 }\ngpu: { count: 2 }\n', []],
    ['ports: { first: 65520 }\n', []],
    [
      'ports: { first: 65530 }\n',
      [
        `${FILE}:1: ports.first: found 65530, which leaves no port for a card past 5: at most 65520, or say with gpu.count (NUM_GPUS) how many cards there are`,
      ],
    ],
    ['ports: { first: 70000 }\n', [`${FILE}:1: ports.first: found 70000; allowed: a whole number from 1 to 65535`]],
    [
      'install: { gitMirror: { "https://u:secret@h/": "https://m/", "nothing": "https://m/" } }\n',
      [
        `${FILE}:1: install.gitMirror: "https://h/" holds credentials, which belong to the URL that is spoken to`,
        `${FILE}:1: install.gitMirror: "nothingx" is not a repository URL; name a repository as https://…, ssh://…, user@host:path, file://… or an absolute path`,
      ],
    ],
    ['api: { port: 8188 }\n', [`${FILE}:1: api.port: found 8188, which is the port of GPU 0; choose another`]],
    ['root: relative/path\n', [`${FILE}:1: root: found "relative/path"; allowed: an absolute path`]],
    ['root: /\n', [`${FILE}:1: root: the root cannot be / itself; choose a directory of its own`]],
    ['[1, 2]', [`${FILE}:1: found [1,2]; allowed: a section with root, stateDir, runDir, comfyui, gpu…`]],
    ['root: ${NOWHERE}/x\n', [`${FILE}:1: root: names the variable NOWHERE, which is not set; set it, or write \${NOWHERE:-default}`]],
    ['root: /a/${B C}\n', [`${FILE}:1: root: \${B C} names no variable; write \${NAME}, or $\${ for the characters themselves`]],
    ['comfyui: { branch: -x }\n', [`${FILE}:1: comfyui.branch: "-x" cannot be the name of a branch or tag`]],
  ])('refuses %j', (text, expected) => {
    expect(problems(text)).toEqual(expected);
  });

  it('refuses what is no YAML, repeated keys, alias bombs and large files, with the place', () => {
    expect(problems('a: [\n')[0]).toMatch(/agent\.yaml:2: /);
    expect(problems('root: /a\nroot: /b\n')).toEqual([`${FILE}:2: Map keys must be unique`]);
    const bomb = [
      'a: &a [x,x,x,x,x,x,x,x,x,x]',
      ...['b', 'c', 'd'].map((name, index) => `${name}: &${name} [${Array(10).fill(`*${'abc'[index]}`).join(',')}]`),
    ].join('\n');
    expect(problems(bomb)[0]).toMatch(/cannot be read: Excessive alias count/);
    expect(problems(`root: /a\n#${'x'.repeat(1024 * 1024)}`)[0]).toMatch(/larger than 1048576 bytes/);
    expect(problems('['.repeat(200_000))).not.toEqual([]);
    expect(problems('root: /a\ncomfyui: &x { environment: *x }\n')).toEqual([
      `${FILE}:2: "comfyui" holds itself, or is nested deeper than 64 levels`,
    ]);
    for (const path of ['/proc', '/sys/x', '/dev/state'])
      expect(problems(`stateDir: ${path}\n`)[0]).toMatch(/stateDir.*is a filesystem of the kernel/);
    expect(problems('stateDir: /dev/shm/state\n')).toEqual([]);
  });

  it('tells all problems at once, the first in the message of the error', () => {
    const result = read('gpu: { mode: x }\nlogg: {}\n', { NUM_GPUS: 'many' });
    if (result.ok) throw new Error('accepted');
    const error = toError(result.problems);
    expect(error.code).toBe('CONFIG_INVALID');
    expect(error.message).toMatch(/logg.*\(first of 3 problems\)$/);
    expect(error.details['problems']).toHaveLength(3);
  });

  it('expands variables, with defaults and an escape, and reads numbers out of them', () => {
    const text =
      'root: ${DATA:-/data}/agent\napi: { port: "${PORT}" }\ncomfyui:\n  enabled: ${ON:-false}\n  environment: { A: "$${B}", C: "${D}-${E:-e}" }\n';
    const { config } = good(text, { PORT: '1234', D: 'd' });
    expect(config.root).toBe('/data/agent');
    expect(config.api.port).toBe(1234);
    expect(config.comfyui.enabled).toBe(false);
    expect(config.comfyui.environment).toEqual({ A: '${B}', C: 'd-e' });
  });

  it('makes paths absolute, from the root, and leaves URLs and program names alone', () => {
    const text =
      'root: /data/\nmodels: { path: ../models }\nssh: { keyFile: ~/.ssh/id }\npython: { interpreter: python3.11, findLinks: [./wheels, "https://x.example/w"] }\ncomfyui: { repository: ./src/ComfyUI }\n';
    const { config } = good(text, { HOME: '/home/me' });
    expect(config).toMatchObject({
      root: '/data',
      models: { path: '/models' },
      ssh: { keyFile: '/home/me/.ssh/id' },
      comfyui: { repository: '/data/src/ComfyUI' },
    });
    expect(config.python).toMatchObject({ interpreter: 'python3.11', findLinks: ['/data/wheels', 'https://x.example/w'] });
    const relative = readConfiguration({
      file: null,
      environment: {},
      flags: [{ key: 'root', value: '.quickstart', flag: '--root' }],
      workingDirectory: '/repo',
    });
    expect(relative.ok && relative.config.root).toBe('/repo/.quickstart');
  });

  it('accepts the example file with every key uncommented, and it says the defaults', () => {
    const example = readFileSync(resolve(import.meta.dirname, '../../../../config/agent.example.yaml'), 'utf8');
    const [, ...rest] = example.split('\n');
    const uncommented = rest.filter((line) => !line.startsWith('##')).map((line) => line.replace(/^#/, ''));
    const { config, provenance } = good(uncommented.join('\n'));
    expect(config).toEqual(Config.parse({}));
    expect(provenance.filter(({ source }) => source !== 'file')).toEqual([]);
  });
});

describe('configurationFile', () => {
  const at = (change: Partial<Parameters<typeof configurationFile>[0]>) =>
    configurationFile({ flag: null, root: null, environment: {}, workingDirectory: '/here', ...change });
  it('goes by --config, AGENT_CONFIG, the system’s, the root’s; never by the working directory', () => {
    expect(at({ flag: 'a.yaml', environment: { AGENT_CONFIG: '/b.yaml' } })).toEqual([{ path: '/here/a.yaml', required: true }]);
    expect(at({ environment: { AGENT_CONFIG: '/b.yaml' } })).toEqual([{ path: '/b.yaml', required: true }]);
    expect(at({}).map(({ path }) => path)).toEqual([FILE, '/workspace/agent.yaml']);
    expect(at({ environment: { WORKSPACE_DIR: '/w' } }).at(-1)).toEqual({ path: '/w/agent.yaml', required: false });
    expect(at({ root: 'r', environment: { WORKSPACE_DIR: '/w' } }).at(-1)?.path).toBe('/here/r/agent.yaml');
  });
});

describe('layoutOf', () => {
  it('puts everything below the root', () => {
    const layout = layoutOf(good(null).config);
    expect(layout).toMatchObject({
      releases: '/workspace/releases',
      installPath: '/workspace/ComfyUI',
      models: '/workspace/shared/models',
      socket: '/workspace/run/agent.sock',
      socketFallback: false,
    });
    expect(layout.configNodes).toBe('/workspace/shared/config_nodes.json');
  });

  it('follows the keys that move things', () => {
    const { config } = good('stateDir: /var/lib/a\nrunDir: /run/a\npacks: { testMode: true }\nmodels: { path: /mnt/models }\n');
    expect(layoutOf(config)).toMatchObject({
      database: '/var/lib/a/agent.db',
      pm2Home: '/var/lib/a/pm2',
      socket: '/run/a/agent.sock',
      models: '/mnt/models',
      configNodes: '/workspace/shared/config_nodes_test.json',
    });
    expect(layoutOf(good('packs: { testMode: true, file: mine.json }').config).configNodes).toBe('/workspace/mine.json');
  });

  it('falls back to a short socket path, another one for each root, always the same', () => {
    const long = (letter: string) => layoutOf(Config.parse({ root: `/${letter.repeat(120)}` }));
    expect(long('a').socketFallback).toBe(true);
    expect(Buffer.byteLength(long('a').socket)).toBeLessThan(60);
    expect(long('a').socket).toBe(long('a').socket);
    expect(long('a').socket).not.toBe(long('b').socket);
    expect(layoutOf(Config.parse({ root: `/${'ü'.repeat(45)}` })).socketFallback).toBe(true);
  });
});
