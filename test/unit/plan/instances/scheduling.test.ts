import { describe, expect, it } from 'vitest';
import { toPm2Entry } from '../../../../ecosystem.template.js';
import type { ConfigInput } from '../../../../src/domain/configuration/config.ts';
import { layoutOf } from '../../../../src/plan/configuration/layout.ts';
import { instanceLaunch } from '../../../../src/plan/instances/launch.ts';
import { aConfig } from '../../../support/machine/builders.ts';

const launchOf = (instances: ConfigInput['instances'], mode: 'cpu' | 'gpu' = 'gpu', localCpus: string | null = '16-31') => {
  const config = aConfig({ instances });
  return instanceLaunch({
    config,
    layout: layoutOf(config),
    instance: { gpu: 1, name: 'comfyui-gpu1', mode, visibleDevices: '' },
    release: { id: 'r1', python: 'venv/bin/python', flags: [], constraints: null },
    tcpPort: 8189,
    modelPathsFile: '/m.yaml',
    modelPathsDigest: '',
    inherited: {},
    localCpus,
  });
};

describe('how an instance is scheduled', () => {
  it.each<[string, ConfigInput['instances'], 'cpu' | 'gpu', string | null, object | undefined]>([
    ['off: nothing is set, so that the launch keeps its identity', {}, 'gpu', '16-31', undefined],
    ['near its card', { cpuAffinity: 'auto' }, 'gpu', '16-31', { cpus: '16-31', nice: 0 }],
    ['near a card of which nothing is known', { cpuAffinity: 'auto' }, 'gpu', null, undefined],
    ['an instance without a card is near none', { cpuAffinity: 'auto' }, 'cpu', '16-31', undefined],
    ['by a list', { cpuAffinity: { '1': '0-3,8' } }, 'cpu', null, { cpus: '0-3,8', nice: 0 }],
    ['by a list for another', { cpuAffinity: { '0': '0-3' } }, 'gpu', '16-31', undefined],
    ['nice alone', { nice: 5 }, 'gpu', '16-31', { cpus: null, nice: 5 }],
  ])('%s', (_what, instances, mode, localCpus, expected) => {
    expect(launchOf(instances, mode, localCpus).scheduling).toEqual(expected);
  });

  it.each(['0-', 'a', '0;reboot', '', '0-3,'])('a CPU list "%s" is refused', (list) => {
    expect(() => aConfig({ instances: { cpuAffinity: { '0': list } } })).toThrow();
  });

  it('goes to the process as arguments, never into a text that is run', () => {
    const { args } = toPm2Entry(launchOf({ cpuAffinity: { '1': '0-3' }, nice: 5 }));
    const [, , name, python, isolated, , , script, cpus, nice, again, unbuffered] = args;
    expect([name, isolated, cpus, nice, again, unbuffered]).toEqual(['comfyui-gpu1', '-I', '0-3', '5', python, '-u']);
    expect(script).not.toContain('0-3');
  });
});
