import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Claim, judgeOwnership, type ProcessIdentity } from '../../../../src/domain/instances/ownership.ts';
import { known, unknown } from '../../../../src/domain/observed.ts';

const identity = (environment: Record<string, string>, startTicks = '77'): ProcessIdentity => ({
  incarnation: { pid: 4_711, startTicks, startedAt: '2026-11-21T12:00:00.000Z' },
  environment,
});
const claim = (change: Partial<Claim> = {}): Claim => ({
  startTicks: null,
  marks: { AGENT_ROOT: ['/workspace', '/mnt/workspace'], AGENT_INSTANCE: ['comfyui-gpu0'] },
  ...change,
});
const MARKED = { AGENT_ROOT: '/mnt/workspace', AGENT_INSTANCE: 'comfyui-gpu0' };

describe('whose a process is', () => {
  it.each([
    ['both marks fit', known(identity(MARKED)), claim(), 'ours'],
    ['the very process', known(identity(MARKED)), claim({ startTicks: '77' }), 'ours'],
    ['its pid was used again, even by one of ours', known(identity(MARKED, '78')), claim({ startTicks: '77' }), 'gone'],
    ['there is none', known(null), claim(), 'gone'],
    ['it may not be looked at', unknown('EACCES'), claim(), 'cannot-tell'],
    ['no mark', known(identity({})), claim(), 'stranger'],
    ['another instance', known(identity({ ...MARKED, AGENT_INSTANCE: 'comfyui-gpu1' })), claim(), 'stranger'],
    ['another root', known(identity({ ...MARKED, AGENT_ROOT: '/elsewhere' })), claim(), 'stranger'],
    ['one mark of two', known(identity({ AGENT_INSTANCE: 'comfyui-gpu0' })), claim(), 'stranger'],
    ['a mark that is empty fits nothing', known(identity({ X: '' })), claim({ marks: { X: [''] } }), 'stranger'],
    ['nothing to know it by', known(identity(MARKED)), claim({ marks: {} }), 'stranger'],
  ] as const)('%s', (_name, seen, expected, ownership) => {
    expect(judgeOwnership(seen, expected)).toBe(ownership);
  });

  it('is ours only with every mark, whatever else there is', () => {
    const text = fc.constantFrom('/workspace', '/elsewhere', 'comfyui-gpu0', 'comfyui-gpu1', '');
    fc.assert(
      fc.property(fc.record({ AGENT_ROOT: text, AGENT_INSTANCE: text, PATH: text }), fc.constantFrom('77', '78'), (environment, ticks) => {
        const isOurs = ticks === '77' && environment.AGENT_ROOT === '/workspace' && environment.AGENT_INSTANCE === 'comfyui-gpu0';
        expect(judgeOwnership(known(identity(environment, ticks)), claim({ startTicks: '77' })) === 'ours').toBe(isOurs);
      }),
    );
  });
});
