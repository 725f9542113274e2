import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ConfigurationSource } from '../../../src/engine/configuration/configuration.ts';
import { LiveConfiguration } from '../../../src/engine/configuration/live.ts';
import { configNodes } from '../../support/machine/fake-repositories.ts';
import { aMachine, type Machine } from '../../support/machine/machine.ts';
import { createWorld, type World } from '../../support/machine/world.ts';

const FILE = '/etc/comfylet/agent.yaml';
const DEFAULT_NODES = '/workspace/shared/config_nodes.json';
const OTHER_NODES = '/srv/nodes.json';
const agentYaml = (nodes: string | null, first = 8188): string =>
  `root: /workspace\ncomfyui: { repository: "simulator:" }\ngpu: { mode: mock, count: 2 }\nports: { first: ${first} }\n${nodes === null ? '' : `packs: { file: ${nodes} }\n`}`;

let world: World;
let machine: Machine;
let live: LiveConfiguration;
beforeEach(async () => {
  world = await createWorld();
  world.files.put(FILE, agentYaml(null));
  world.files.put(DEFAULT_NODES, configNodes('ComfyUI-One'));
  world.files.put(OTHER_NODES, configNodes('ComfyUI-Two'));
  const source = new ConfigurationSource(world.files, { file: null, environment: {}, flags: [], workingDirectory: '/' });
  machine = await aMachine({ world, configuration: await source.load() });
  live = new LiveConfiguration({ source, core: machine.core, files: world.files, log: machine.log });
  await live.start();
});
afterEach(async () => {
  await live.close();
  await machine.stop();
});

const packs = () => machine.core.knowledge.inputs.packs.map(({ name }) => name);
const edit = async (path: string, text: string): Promise<void> => {
  world.files.put(path, text);
  await world.clock.settle();
};

describe('files of the operator, while the agent runs', () => {
  it('are read again when they change', async () => {
    expect(packs()).toEqual(['ComfyUI-One']);
    await edit(DEFAULT_NODES, configNodes('ComfyUI-Three'));
    expect(packs()).toEqual(['ComfyUI-Three']);
    await edit(FILE, agentYaml(null, 9000));
    expect(machine.core.knowledge.configuration.config.ports.first).toBe(9_000);
    expect(machine.journal('configuration.changed')).toHaveLength(1);
  });

  it('are watched where a changed configuration puts them, and no longer where they were', async () => {
    await edit(FILE, agentYaml(OTHER_NODES));
    expect(packs()).toEqual(['ComfyUI-Two']);
    await edit(OTHER_NODES, configNodes('ComfyUI-Four'));
    expect(packs()).toEqual(['ComfyUI-Four']);
    let looks = 0;
    world.files.before = (call, path) => {
      if (call === 'read' && path === FILE) looks += 1;
    };
    await edit(DEFAULT_NODES, configNodes('ComfyUI-Five'));
    expect([packs(), looks]).toEqual([['ComfyUI-Four'], 0]);
    await edit(FILE, agentYaml(null));
    expect(packs()).toEqual(['ComfyUI-Five']);
  });

  it('an edit that is refused keeps the watch where it was', async () => {
    await edit(FILE, 'packs: { fiel: /srv/nodes.json }\n');
    expect(machine.journal('configuration.rejected')).toHaveLength(1);
    await edit(DEFAULT_NODES, configNodes('ComfyUI-Three'));
    expect(packs()).toEqual(['ComfyUI-Three']);
  });

  it('two edits at once are read one after the other, and the newest stays', async () => {
    let reading = 0;
    let most = 0;
    const { promise: gate, resolve: open } = Promise.withResolvers<void>();
    world.files.before = async (call, path) => {
      if (call !== 'read' || path !== FILE) return;
      most = Math.max(most, ++reading);
      await gate;
      reading -= 1;
    };
    await edit(FILE, agentYaml(null, 9000));
    await edit(FILE, agentYaml(null, 9100));
    open();
    await world.clock.settle();
    expect(machine.core.knowledge.configuration.config.ports.first).toBe(9_100);
    expect(most).toBe(1);
  });

  it('an edit does not wait for a shared repository that takes long', async () => {
    let reads = 0;
    const { promise: gate, resolve: open } = Promise.withResolvers<void>();
    world.files.before = async (call, path) => {
      if (call === 'read' && path === DEFAULT_NODES && reads++ === 0) await gate;
    };
    await edit(DEFAULT_NODES, configNodes('ComfyUI-Three'));
    await edit(FILE, agentYaml(null, 9000));
    expect(machine.core.knowledge.configuration.config.ports.first).toBe(9_000);
    open();
    await world.clock.settle();
    expect(packs()).toEqual(['ComfyUI-Three']);
  });

  it('nothing is read after the end', async () => {
    await live.close();
    await edit(DEFAULT_NODES, configNodes('ComfyUI-Three'));
    expect(packs()).toEqual(['ComfyUI-One']);
  });

  it('are read before an installation, noticed by then or not', async () => {
    await live.close();
    const deaf = { watch: async () => ({ close: async () => undefined }) };
    const source = new ConfigurationSource(world.files, { file: null, environment: {}, flags: [], workingDirectory: '/' });
    live = new LiveConfiguration({ source, core: machine.core, files: deaf, log: machine.log });
    await live.start();
    await edit(FILE, agentYaml(OTHER_NODES));
    expect(packs()).toEqual(['ComfyUI-One']);
    await machine.finished(await machine.core.agent.startOperation({ kind: 'install' }));
    expect(packs()).toEqual(['ComfyUI-Two']);
  });
});
