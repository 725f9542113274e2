import { describe, expect, it } from 'vitest';
import { Config } from '../../../../src/domain/configuration/config.ts';
import { readConfiguration } from '../../../../src/plan/configuration/configuration.ts';
import { layoutOf } from '../../../../src/plan/configuration/layout.ts';
import { completedConfiguration, newConfiguration } from '../../../../src/plan/host/configuration.ts';
import { planRemoval, type RemovalPlan, removalQuestion } from '../../../../src/plan/host/removal.ts';
import { planSetup, type SetupWish, setupQuestion } from '../../../../src/plan/host/setup.ts';
import { createFakeHost, type FakeHost } from '../../../fakes/host.ts';

const layout = layoutOf(Config.parse({ root: '/workspace', stateDir: '/var/lib/comfylet', runDir: '/run/comfylet' }));
const wish: SetupWish = {
  root: '/workspace',
  prefix: '/usr/local',
  program: { file: '/media/usb/agent' },
  readable: [],
  writable: [],
  configuration: newConfiguration('/workspace'),
  secrets: 'AGENT_TOKEN=x\n',
  units: { 'comfylet-pm2.service': '[Unit]\n', 'comfylet.path': '[Path]\n', 'comfylet.service': '[Unit]\n' },
  legacy: { initScript: '#!/bin/sh\n', mgpu: '#!/bin/sh\n' },
  start: true,
};
const aMachine = async (prepare: (host: FakeHost) => void = () => undefined): Promise<FakeHost> => {
  const host = createFakeHost();
  host.put('/media/usb/agent', 'the program', 0o755);
  prepare(host);
  for (const { action } of planSetup(wish, await host.facts(setupQuestion(wish)))) await host.carryOut(action);
  for (const directory of ['shared', 'shared/models', 'shared/outputs', 'releases'])
    host.paths.set(`/workspace/${directory}`, { kind: 'directory', uid: 0, gid: 0, mode: 0o755, content: null });
  host.put('/workspace/shared/models/one.safetensors', 'a model');
  return host;
};
const plan = async (host: FakeHost, purge = false): Promise<RemovalPlan> => {
  const asked = { layout, prefix: '/usr/local', purge };
  return planRemoval(asked, await host.facts(removalQuestion(asked)));
};
const whats = ({ steps }: RemovalPlan): string[] => steps.map(({ what }) => what);
const remove = async (host: FakeHost, purge = false): Promise<void> => {
  for (const { action } of (await plan(host, purge)).steps) await host.carryOut(action);
};

describe('planRemoval', () => {
  it('is the way back, and tells what stays', async () => {
    const found = await plan(await aMachine());
    expect(whats(found)).toEqual([
      'stop comfylet.service, comfylet-pm2.service',
      'disable comfylet.service, comfylet-pm2.service',
      'remove /etc/init.d/comfyui',
      'remove /usr/local/bin/mgpu',
      'remove /usr/local/bin/agent',
      'remove /etc/systemd/system/comfylet.service',
      'remove /etc/systemd/system/comfylet.path',
      'remove /etc/systemd/system/comfylet-pm2.service',
      'systemd',
      'remove user comfylet',
      'remove user comfyui',
    ]);
    expect(found.left).toEqual([
      '/workspace/shared/models (models)',
      '/workspace/shared/outputs (outputs)',
      '/workspace (the root, with releases and logs)',
      '/etc/comfylet (configuration and secrets)',
      '/var/lib/comfylet (state)',
      '/var/lib/comfyui (what packs downloaded)',
    ]);
  });

  it('leaves models, and has nothing to do the second time', async () => {
    const host = await aMachine();
    await remove(host);
    expect(host.paths.get('/workspace/shared/models/one.safetensors')?.content).toBe('a model');
    expect(whats(await plan(host))).toEqual([]);
  });

  it('can be cut after each step, and goes on there', async () => {
    const all = (await plan(await aMachine())).steps;
    for (const [count] of all.entries()) {
      const host = await aMachine();
      for (const { action } of all.slice(0, count)) await host.carryOut(action);
      await remove(host);
      expect(whats(await plan(host))).toEqual([]);
      expect([...host.users.keys()]).toEqual(['root']);
      expect([...host.paths.keys()].filter((path) => /\/bin\/|\.service$|init\.d\//.test(path) && !path.startsWith('/media'))).toEqual([]);
    }
  });

  it('leaves users, programs and units that it did not make', async () => {
    const host = await aMachine((fresh) => fresh.users.set('comfyui', { uid: 1001, gid: 0, comment: 'our artist' }));
    host.put('/etc/systemd/system/comfylet.service', '[Unit]\nDescription=something else\n');
    const found = await plan(host);
    expect(whats(found)).not.toContain('remove user comfyui');
    expect(whats(found)).not.toContain('remove /usr/local/bin/agent');
    expect(whats(found).join()).not.toContain('comfylet.service');
    expect(found.left).toContain('user comfyui (was there before)');
  });

  it('purges what the agent made below the root, and the root when it is empty', async () => {
    const host = await aMachine();
    host.put('/workspace/thesis.txt', 'not ours');
    await remove(host, true);
    expect([...host.paths.keys()].filter((path) => /workspace|comfy/.test(path))).toEqual(['/workspace', '/workspace/thesis.txt']);
    host.paths.delete('/workspace/thesis.txt');
    await remove(host, true);
    expect(host.paths.has('/workspace')).toBe(false);
  });
});

describe('agent.yaml', () => {
  const provenanceOf = (text: string) => {
    const result = readConfiguration({
      file: { path: '/etc/comfylet/agent.yaml', text },
      environment: {},
      flags: [],
      workingDirectory: '/',
    });
    if (!result.ok) throw new Error(JSON.stringify(result.problems));
    return result;
  };

  it('of a fresh machine says where things are', () => {
    expect(provenanceOf(newConfiguration('/srv/x')).config).toMatchObject({
      root: '/srv/x',
      stateDir: '/var/lib/comfylet',
      runDir: '/run/comfylet',
      pm2: { mode: 'external', home: '/run/comfylet-pm2' },
      users: { comfyui: 'comfyui' },
    });
    expect(completedConfiguration(newConfiguration('/srv/x'), provenanceOf(newConfiguration('/srv/x')).provenance)).toBe(
      newConfiguration('/srv/x'),
    );
  });

  it('completes one that says no root, where --root does', () => {
    const done = completedConfiguration('health: { minReady: 1 }', provenanceOf('').provenance, '/srv/x');
    expect(done).toContain('health: { minReady: 1 }\n# added by agent setup');
    expect(provenanceOf(done).config).toMatchObject({ root: '/srv/x', runDir: '/run/comfylet' });
    expect(completedConfiguration(done, provenanceOf(done).provenance)).toBe(done);
  });

  it.each([
    ['', true],
    ['root: /data\nports:\n  first: 9000', true],
    ['# mine\n---\nroot: /data\n', true],
    ['stateDir: /data/state\n', true],
    ['{root: /data}\n', false],
  ])('completes %j', (text, isCompleted) => {
    const done = completedConfiguration(text, provenanceOf(text).provenance);
    expect(done.startsWith(text)).toBe(true);
    const { config } = provenanceOf(done);
    expect(config.runDir).toBe(isCompleted ? '/run/comfylet' : null);
    expect(config.root).toBe(text.includes('/data\n') || text.includes('/data}') ? '/data' : '/workspace');
    expect(completedConfiguration(done, provenanceOf(done).provenance)).toBe(done);
  });
});
