import { describe, expect, it } from 'vitest';
import { lastWords } from '../../../../src/plan/instances/last-words.ts';

const TRACEBACK = [
  'Traceback (most recent call last):',
  '  File "main.py", line 1, in <module>',
  '    import torchsde',
  "ModuleNotFoundError: No module named 'torchsde'",
];

describe('the line that tells why a program ended', () => {
  it.each<[string, readonly string[], 'status' | 'signal', string | null]>([
    ['the last of a traceback', ['Starting', ...TRACEBACK], 'status', "ModuleNotFoundError: No module named 'torchsde'"],
    ['also when more is said after it', [...TRACEBACK, 'Stopped server', ''], 'status', "ModuleNotFoundError: No module named 'torchsde'"],
    [
      'a complaint of the command line',
      ['usage: main.py [-h]', 'main.py: error: unrecognized arguments: --x'],
      'status',
      'main.py: error: unrecognized arguments: --x',
    ],
    ['a marked line', ['[ERROR] no card', 'bye'], 'status', '[ERROR] no card'],
    [
      'a qualified exception',
      ['torch.cuda.OutOfMemoryError: CUDA out of memory.', 'x'],
      'status',
      'torch.cuda.OutOfMemoryError: CUDA out of memory.',
    ],
    ['nothing explains it', ['a', 'b', ' '], 'status', 'b'],
    ['nothing was said', ['', ' '], 'status', null],
    ['an error long before', ['ValueError: of a job', ...Array.from({ length: 30 }, (_, index) => `line ${index}`)], 'status', 'line 29'],
    ['a signal, after the error of a job', ['ValueError: of a job', 'got prompt'], 'signal', null],
    [
      'a signal that Python explains',
      ['got prompt', 'Fatal Python error: Segmentation fault', '', 'Thread 0x1:'],
      'signal',
      'Fatal Python error: Segmentation fault',
    ],
    ['a long one', [`RuntimeError: ${'x'.repeat(1_000)}`], 'status', `RuntimeError: ${'x'.repeat(185)}…`],
  ])('%s', (_name, lines, how, expected) => expect(lastWords(lines, how)).toBe(expected));

  it('in a time that does not grow with the square of a line', () => {
    const began = performance.now();
    lastWords([`${'a.'.repeat(500_000)}`, 'a'.repeat(1_000_000)], 'status');
    expect(performance.now() - began).toBeLessThan(2_000);
  });
});
