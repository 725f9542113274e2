import { describe, expect, it } from 'vitest';
import type { DiscoveryDocument } from '../../../src/domain/instances/discovery.ts';
import { DiscoveryPublisher, environmentFile, prometheusTargets } from '../../../src/engine/reports/discovery.ts';
import { createFakeFiles } from '../../fakes/files.ts';
import { createFakeLogger } from '../../fakes/logger.ts';
import { aLoadedConfiguration, aReadyMachine } from '../../support/machine/machine.ts';
import { aDiscoveryDocument } from '../../support/machine/machine-documents.ts';

const instance = (gpu: number, change: Partial<DiscoveryDocument['instances'][number]> = {}): DiscoveryDocument['instances'][number] => ({
  gpu,
  uuid: `GPU-${gpu}`,
  name: `comfyui-gpu${gpu}`,
  ready: true,
  host: '10.0.0.7',
  port: 8188 + gpu,
  url: `http://10.0.0.7:${8188 + gpu}`,
  wsUrl: `ws://10.0.0.7:${8188 + gpu}/ws`,
  protocol: 'fork',
  comfyuiVersion: '0.3.12',
  since: '2026-11-21T12:00:00.000Z',
  ...change,
});
const document = (...instances: DiscoveryDocument['instances']): DiscoveryDocument => aDiscoveryDocument({ machine: 'box', instances });

describe('what workers are told', () => {
  it('the environment file lists ready instances only, and the first also under the plain names', () => {
    expect(environmentFile(document(instance(0, { ready: false }), instance(1), instance(3)))).toBe(
      [
        'COMFYUI_INSTANCES=1,3',
        'COMFYUI_GPU1_HOST=10.0.0.7',
        'COMFYUI_GPU1_PORT=8189',
        'COMFYUI_GPU1_URL=http://10.0.0.7:8189',
        'COMFYUI_GPU1_WS_URL=ws://10.0.0.7:8189/ws',
        'COMFYUI_GPU3_HOST=10.0.0.7',
        'COMFYUI_GPU3_PORT=8191',
        'COMFYUI_GPU3_URL=http://10.0.0.7:8191',
        'COMFYUI_GPU3_WS_URL=ws://10.0.0.7:8191/ws',
        'COMFYUI_HOST=10.0.0.7',
        'COMFYUI_PORT=8189',
        '',
      ].join('\n'),
    );
    expect(environmentFile(document(instance(0, { ready: false })))).toBe('COMFYUI_INSTANCES=\n');
  });

  it('Prometheus gets one group for each ready instance, IPv6 in brackets', () => {
    expect(
      prometheusTargets(document(instance(0, { host: '::1', uuid: null, comfyuiVersion: null }), instance(1, { ready: false }))),
    ).toEqual([
      {
        targets: ['[::1]:8188'],
        labels: {
          __meta_comfyui_gpu: '0',
          __meta_comfyui_uuid: '',
          __meta_comfyui_name: 'comfyui-gpu0',
          __meta_comfyui_machine: 'box',
          __meta_comfyui_protocol: 'fork',
          __meta_comfyui_version: '',
        },
      },
    ]);
  });

  it('is written when it changed, not when it was only generated anew', async () => {
    const machine = await aReadyMachine();
    const writes = () => machine.world.files.written.filter((path) => path === '/workspace/run/instances.json').length;
    const before = writes();
    await machine.advance(120_000);
    expect(writes()).toBe(before);
    machine.world.pm2.exit('comfyui-gpu1');
    await machine.world.clock.settle();
    expect(writes()).toBe(before + 1);
    const told = JSON.parse((await machine.world.files.readText('/workspace/run/instances.json')) ?? '') as DiscoveryDocument;
    expect(told).toMatchObject({ schema: 1, machine: 'box', capacity: { ready: 1, wanted: 2 } });
    expect(told.instances.map(({ ready }) => ready)).toEqual([true, false]);
    expect(await machine.world.files.readText('/workspace/run/instances.env')).toContain('COMFYUI_INSTANCES=0\n');
    expect(machine.world.files.mode('/workspace/run/instances.env')).toBe(0o644);
    await machine.stop();
  });

  it('keeps since when an instance became ready', async () => {
    const machine = await aReadyMachine();
    const since = () => machine.core.documents().discovery.instances[0]?.since;
    const before = since();
    await machine.advance(60_000);
    expect(since()).toBe(before);
    machine.world.pm2.exit('comfyui-gpu0');
    expect(since()).not.toBe(before);
    await machine.stop();
  });

  it('reaches whoever follows, as it changes', async () => {
    const machine = await aReadyMachine();
    const abort = new AbortController();
    const seen: string[] = [];
    const following = (async () => {
      for await (const { capacity } of machine.core.agent.discoveryEvents(abort.signal)) seen.push(`${capacity.ready}/${capacity.wanted}`);
    })();
    await machine.world.clock.settle();
    machine.world.pm2.exit('comfyui-gpu1');
    await machine.until('it is back', machine.isReady);
    abort.abort();
    await following;
    expect([seen[0], seen.at(-1)]).toEqual(['2/2', '2/2']);
    expect(seen).toContain('1/2');
    await machine.stop();
  });

  it('is written again when the disk took it back, with one complaint', async () => {
    const files = createFakeFiles();
    files.put('/workspace/run/x');
    const log = createFakeLogger();
    const publisher = new DiscoveryPublisher(files, aLoadedConfiguration().layout, log);
    files.before = () => {
      throw Object.assign(new Error('no space'), { code: 'ENOSPC' });
    };
    for (let looks = 0; looks < 3; looks++) {
      publisher.publish(document(instance(0)));
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(log.lines).toEqual(['error: the discovery files cannot be written']);
    files.before = null;
    publisher.publish(document(instance(0)));
    await publisher.close();
    expect(await files.readText('/workspace/run/instances.env')).toContain('COMFYUI_INSTANCES=0');
  });
});
