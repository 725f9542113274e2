import { describe, expect, it } from 'vitest';
import { serviceStatus } from '../../../../src/plan/reports/service-status.ts';

const installed = { status: 'installed' as const, progress: 1, step: null, reason: null };
const fine = { problem: null };
const some = (...statuses: string[]) => ({
  capacity: { ready: statuses.filter((status) => status === 'healthy').length, wanted: statuses.length },
  instances: statuses.map((status) => ({ status, ready: status === 'healthy' })),
});

describe('the status line of the service', () => {
  it.each([
    ['all ready', installed, some('healthy', 'healthy'), fine, '2 of 2 instances ready'],
    ['before the first look', { ...installed, status: 'none' as const }, some(), fine, 'looking at the machine'],
    ['one instance', installed, some('healthy'), fine, '1 of 1 instance ready'],
    [
      'what the others do',
      installed,
      some('healthy', 'starting', 'starting', 'quarantined'),
      fine,
      '1 of 4 instances ready, 2 starting, 1 quarantined',
    ],
    [
      'the first installation',
      { status: 'installing' as const, progress: 0.409, step: 'environment' as const, reason: null },
      some('installing', 'installing'),
      fine,
      'installing 40 % (environment); 0 of 2 instances ready, 2 installing',
    ],
    [
      'an installation beside instances that serve',
      { ...installed, progress: 0.999, step: 'packs' as const },
      some('healthy'),
      fine,
      'installing 99 % (packs); 1 of 1 instance ready',
    ],
    [
      'a broken installation',
      { status: 'broken' as const, progress: 0, step: null, reason: 'no space' },
      some('unhealthy'),
      fine,
      'the installation is broken: no space; 0 of 1 instance ready, 1 unhealthy',
    ],
    [
      'a pack that failed',
      { ...installed, status: 'degraded' as const, reason: '1 node pack failed: Late (it does not import: no module)' },
      some('healthy'),
      fine,
      '1 node pack failed: Late (it does not import: no module); 1 of 1 instance ready',
    ],
    [
      'an edit that was refused',
      installed,
      some('healthy'),
      { problem: 'ports.first: a number' },
      '1 of 1 instance ready; configuration refused: ports.first: a number',
    ],
    ['no ComfyUI', { ...installed, status: 'disabled' as const }, some(), fine, 'ComfyUI is disabled'],
  ])('%s', (_, installation, instances, configuration, expected) => {
    expect(serviceStatus(installation, instances, configuration)).toBe(expected);
  });
});
