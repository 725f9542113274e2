import { describe, expect, it } from 'vitest';
import { ConfigurationSource } from '../../../src/engine/configuration/configuration.ts';
import { createFakeFiles } from '../../fakes/files.ts';

const FILE = '/etc/comfylet/agent.yaml';

function lab(text: string | null = 'ports:\n  first: 9000\n', environment: Readonly<Record<string, string>> = {}) {
  const files = createFakeFiles();
  if (text !== null) files.put(FILE, text);
  const flags = [{ key: 'root', value: '/data', flag: '--root' }];
  const source = new ConfigurationSource(files, { file: null, environment, flags, workingDirectory: '/home/me' });
  return { files, source };
}

describe('the configuration source', () => {
  it('reads flags over environment over file, and tells the file', async () => {
    const { source } = lab('ports:\n  first: 9000\napi:\n  port: 1234\n', { AGENT_PORT: '4321' });
    const loaded = await source.load();
    expect(loaded).toMatchObject({ file: FILE, generation: 1, problem: null, layout: { root: '/data', state: '/data/state' } });
    expect([loaded.config.ports.first, loaded.config.api.port]).toEqual([9_000, 4_321]);
  });

  it('a good edit gets the next generation; a file without a change keeps its own', async () => {
    const { files, source } = lab();
    const first = await source.load();
    expect(await source.reload(first)).toEqual(first);
    files.put(FILE, 'ports:\n  first: 9100\n');
    const second = await source.reload(first);
    expect(second).toMatchObject({ generation: 2, problem: null });
    expect(second.config.ports.first).toBe(9_100);
  });

  it('a bad edit keeps the last good values and names the key, until it is corrected', async () => {
    const { files, source } = lab();
    const first = await source.load();
    files.put(FILE, 'ports:\n  frist: 9100\n');
    const bad = await source.reload(first);
    expect(bad.config).toBe(first.config);
    expect(bad).toMatchObject({ generation: 1, problem: expect.stringContaining('ports.frist') as string });
    files.put(FILE, 'ports: [\n');
    expect((await source.reload(bad)).problem).not.toBe(bad.problem);
    files.put(FILE, 'ports:\n  first: 9000\n');
    expect(await source.reload(bad)).toMatchObject({ generation: 1, problem: null });
  });

  it('keys that a running agent cannot change under itself wait for a restart, with the rest of the edit', async () => {
    const { files, source } = lab();
    const first = await source.load();
    files.put(FILE, 'ports:\n  first: 9100\napi:\n  port: 9999\nlog:\n  level: debug\n');
    const held = await source.reload(first);
    expect(held.problem).toBe(`${FILE}: api.port, log.level can only be changed by restarting the agent; the edit waits until then`);
    expect(held.config.ports.first).toBe(9_000);
    expect((await source.load()).config.api.port).toBe(9_999);
  });

  it('a file that disappears is an edit like any other', async () => {
    const { files, source } = lab();
    const first = await source.load();
    await files.remove(FILE);
    expect(await source.reload(first)).toMatchObject({ generation: 2, file: null, config: { ports: { first: 8_188 } } });
  });

  it('refuses to begin with a bad file, or without the one that was named', async () => {
    await expect(lab('ports:\n  first: none\n').source.load()).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
    await expect(lab(null, { AGENT_CONFIG: '/nowhere.yaml' }).source.load()).rejects.toMatchObject({
      code: 'CONFIG_NOT_FOUND',
      message: '/nowhere.yaml does not exist',
    });
  });

  it('reads the token from its file, and keeps it out of everything else', async () => {
    const { files, source } = lab('api:\n  tokenFile: /secrets/token\n');
    await expect(source.load()).rejects.toMatchObject({ message: '/secrets/token (api.tokenFile) does not exist' });
    files.put('/secrets/token', '  \n');
    await expect(source.load()).rejects.toMatchObject({ message: '/secrets/token (api.tokenFile) is empty' });
    for (const [bad, why] of [
      ['x', 'is too short'],
      ['a token with spaces', 'white space'],
      ['tökenökenöken', 'outside ASCII'],
    ] as const) {
      files.put('/secrets/token', `${bad}\n`);
      const refused = await source.load().catch((error: Error) => error);
      expect(refused).toMatchObject({ code: 'CONFIG_INVALID', message: expect.stringContaining(why) });
      expect(String(refused)).not.toContain(bad === 'x' ? '/secrets/token: x' : bad);
    }
    files.put('/secrets/token', 'a-long-token\n');
    const { secrets, ...rest } = await source.load();
    expect(secrets.token).toBe('a-long-token');
    expect(JSON.stringify(rest)).not.toContain('a-long-token');
  });

  it('watches every place where the file may appear, and the files of the operator', async () => {
    const { source } = lab();
    expect(source.watched(await source.load())).toEqual([
      FILE,
      '/data/agent.yaml',
      '/data/shared/config_nodes.json',
      '/data/shared/comfy_dir_config.yaml',
      '/data/shared/static-models.json',
      '/data/agent.lock.json',
    ]);
  });

  it('a path that is too long for a socket is told', async () => {
    const { source } = lab(`runDir: /${'x'.repeat(120)}\n`);
    const { layout, warnings } = await source.load();
    expect(layout.socketFallback).toBe(true);
    expect(warnings.join()).toContain('too long for a socket');
  });
});
