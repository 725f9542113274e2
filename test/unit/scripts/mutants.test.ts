import { describe, expect, it } from 'vitest';
import { mutantsOf } from '../../../scripts/mutants.ts';

const changesOf = (line: string): string[] => mutantsOf('a.ts', line).map(({ source }) => source);

describe('mutantsOf', () => {
  it.each<[string, string[]]>([
    ['return a && b;', ['return a || b;']],
    [
      'if (now - since > LIMIT_MS) return null;',
      ['if (now - since >= LIMIT_MS) return null;', 'if (now + since > LIMIT_MS) return null;', 'if (false) return null;'],
    ],
    ['if (f(a) === (b)) return;', ['if (f(a) !== (b)) return;', 'if (false) return;']],
    ["const text = a + ' && ' + b;", []],
    ['const text = `a && b`;', []],
    ['// if (a) or b && c', []],
    ['  readonly isReady: true | false;', []],
    ['const isReady = { ready: true };', ['const isReady = { ready: false };']],
    ['const map = new Map<string, Set<number>>();', []],
    ['x(a) // a && b', []],
  ])('%s', (line, changed) => {
    expect(changesOf(line)).toEqual(changed);
  });

  it('changes one line of many', () => {
    const [mutant] = mutantsOf('a.ts', 'a\nb === c\nd');
    expect(mutant).toMatchObject({ line: 2, text: 'b === c', before: '===', after: '!==', source: 'a\nb !== c\nd' });
  });
});
