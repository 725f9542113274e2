import { describe, expect, it } from 'vitest';
import { DoctorDocument } from '../../../src/domain/doctor/doctor.ts';
import { AgentError } from '../../../src/domain/errors/errors.ts';
import { examine } from '../../../src/engine/doctor/doctor.ts';
import { aGpu } from '../../support/machine/builders.ts';
import { aLoadedConfiguration, aMachine } from '../../support/machine/machine.ts';
import { createWorld, type World } from '../../support/machine/world.ts';

type Change = Partial<Parameters<typeof examine>[1]>;
const look = (world: World, configuration = aLoadedConfiguration(), change: Change = {}): Promise<DoctorDocument> =>
  examine(world.ports(), { ...configuration, problems: [], agentPid: null, ...change });
const bad = ({ findings }: DoctorDocument): string[] =>
  findings.filter(({ status }) => status !== 'ok').map(({ check, status, message }) => `${status} ${check}: ${message}`);

describe('the doctor', () => {
  it('of a running agent asks the world behind the facade, and leaves nothing behind', async () => {
    const machine = await aMachine();
    await machine.start();
    await machine.until('instances serve', () => machine.isReady());
    const before = machine.world.files.tree('/');
    const document = DoctorDocument.parse(await machine.core.agent.doctor());
    expect(bad(document)).toEqual([]);
    expect(document.findings.find(({ check }) => check === 'agent')?.message).toMatch(/^running \(pid \d+\)$/);
    expect(machine.world.files.tree('/')).toEqual(before);
    await machine.stop();
  });

  it('looks on a machine where nothing is there yet, and makes nothing', async () => {
    const world = await createWorld({ gpus: [aGpu(0)] });
    world.files.freeDiskBytes = 100 * 1024 ** 3;
    const before = world.files.tree('/');
    const document = await look(world, aLoadedConfiguration({ gpu: { mode: 'actual' } }));
    expect(document.ok).toBe(true);
    expect(document.findings.map(({ check }) => check)).toContain('gpu');
    expect(world.files.tree('/')).toEqual(before);
  });

  it('finds a root that takes no links', async () => {
    const world = await createWorld();
    world.files.freeDiskBytes = 100 * 1024 ** 3;
    world.files.before = (call, path) => {
      if (call === 'link' && path.includes('.agent-doctor-')) throw new AgentError('ROOT_UNSUITABLE', 'it takes no symbolic links');
    };
    expect(bad(await look(world))).toContainEqual('fail root: it takes no symbolic links');
  });

  it('tells everything that is wrong at once', async () => {
    const world = await createWorld();
    world.files.put('/workspace/shared/config_nodes.json', '{"custom_nodes":[{"name":"A"}]}');
    world.files.put('/workspace/releases/half/ComfyUI/main.py', '');
    world.files.freeDiskBytes = 1_000;
    world.files.before = (call, path) => {
      if (call === 'writeText' && path.includes('.agent-doctor-'))
        throw new AgentError('ROOT_NOT_WRITABLE', `${path} could not be written: permission denied`);
    };
    world.kernel.add({ pid: 991, command: 'python3 -m http.server 8189', listens: [8189] });
    const document = await look(world, aLoadedConfiguration(), { problems: ['agent.yaml:3: gpu.mode: found "x"'] });
    expect(document.ok).toBe(false);
    const found = bad(document).join('\n');
    for (const words of [
      'fail config: agent.yaml:3',
      'fail files: /workspace/shared/config_nodes.json',
      'fail root: ',
      'permission denied',
      'fail disk: ',
      'fail ports: port 8189 of gpu 1 is held by pid 991',
      'warn leftovers: half built: half',
    ]) {
      expect(found).toContain(words);
    }
  });

  it('asks the repository whether it has the branch', async () => {
    const world = await createWorld({
      repositories: {
        'https://example.com/ComfyUI.git': { defaultBranch: 'main', branches: { main: 'c1' }, commits: { c1: { files: {} } } },
      },
    });
    const configuration = (branch: string) => aLoadedConfiguration({ comfyui: { repository: 'https://example.com/ComfyUI.git', branch } });
    const good = await look(world, configuration('main'));
    expect(good.findings.find(({ check }) => check === 'repository')).toMatchObject({ status: 'ok' });
    const missing = await look(world, configuration('none'));
    expect(bad(missing).join('\n')).toMatch(/fail repository: .*none/);
  });
});
