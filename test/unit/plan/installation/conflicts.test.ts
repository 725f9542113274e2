import { describe, expect, it } from 'vitest';
import { conflictsOf, conflictWords, fixedLines, overrideLine, overrideWords } from '../../../../src/plan/installation/conflicts.ts';
import { chooseTorch } from '../../../../src/plan/installation/python.ts';

const torch = chooseTorch({ setting: '2.13.0+cpu', driverVersion: null, hasGpu: false });
const fixed = fixedLines({
  torch,
  core: ['torchvision==0.28.0'],
  constraints: ['numpy<3'],
  overrides: ['six==1.16.0', { requirement: 'opencv-python==4.8', reason: 'the detector needs it' }],
});
const line = (pack: string | null, text: string, lineNumber: number | null = 1) => ({
  pack,
  line: text,
  file: pack === null ? null : 'requirements.txt',
  lineNumber,
});

describe('conflicts of a pack', () => {
  it('name its line with its place, and the line of the other pack', () => {
    const conflicts = conflictsOf('b', { reason: 'no', asked: [line('a', 'numpy<2', 4), line('b', 'numpy>=2', 2)] }, fixed);
    expect(conflicts).toEqual([
      { pack: 'b', line: 'numpy>=2', file: 'requirements.txt', lineNumber: 2, against: 'a numpy<2 (requirements.txt:4)' },
    ]);
    expect(conflictWords(conflicts)).toBe('numpy>=2 (requirements.txt:2) against a numpy<2 (requirements.txt:4)');
  });

  it.each([
    ['torch==2.13.0+cpu', 'python.torch torch==2.13.0+cpu'],
    ['torchvision==0.28.0', 'ComfyUI torchvision==0.28.0'],
    ['numpy<3', 'python.constraints numpy<3'],
    ['six==1.16.0', 'python.overrides six==1.16.0'],
    ['opencv_python==4.8', 'python.overrides opencv-python==4.8 (the detector needs it)'],
    // uv writes ranges in its own way: the package tells.
    ['aiohttp<3.14.2', 'versions known to break ComfyUI: aiohttp!=3.14.2,!=3.14.3'],
    ['stranger==1', 'the configuration stranger==1'],
  ])('a line of nobody, %s, is told by where it comes from', (text, words) => {
    expect(conflictsOf('b', { reason: 'no', asked: [line('b', 'x'), line(null, text)] }, fixed)[0]?.against).toBe(words);
  });

  it('stand against the reason when nobody else takes part', () => {
    const reason = 'foo was not found in the package registry';
    expect(conflictsOf('b', { reason, asked: [line('b', 'foo')] }, fixed)).toMatchObject([{ line: 'foo', against: reason }]);
    expect(conflictsOf('b', { reason }, fixed)).toEqual([{ pack: 'b', line: null, file: null, lineNumber: null, against: reason }]);
    expect(conflictWords(conflictsOf('b', { reason }, fixed))).toBe('');
  });
});

it('overrides are lines with or without a reason', () => {
  expect([overrideLine('a==1'), overrideWords('a==1')]).toEqual(['a==1', 'a==1']);
  const entry = { requirement: 'a==1', reason: 'why' };
  expect([overrideLine(entry), overrideWords(entry)]).toEqual(['a==1', 'a==1 (why)']);
});
