import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { toLockedPackage } from '../../../../src/domain/installation/lock.ts';
import { adoptionWords, contain, environmentChanges } from '../../../../src/plan/installation/environment-changes.ts';
import { meetsSpecifier } from '../../../../src/plan/installation/specifier.ts';

const pin = (line: string) => toLockedPackage(line)!;
const packages = fc.dictionary(fc.constantFrom('a', 'b', 'c', 'd'), fc.constantFrom('1.0', '2.0'));

describe('what changed in an environment', () => {
  it('is told by kind, and nothing is told of what stayed', () => {
    expect(environmentChanges({ kept: '1', torch: '2.13.0+cpu', gone: '3' }, { torch: '2.9.1', kept: '1', fresh: '4' })).toEqual({
      added: [{ name: 'fresh', version: '4' }],
      changed: [{ name: 'torch', before: '2.13.0+cpu', after: '2.9.1' }],
      removed: [{ name: 'gone', version: '3' }],
    });
  });

  it('leads from the one to the other', () => {
    fc.assert(
      fc.property(packages, packages, (before, after) => {
        const { added, changed, removed } = environmentChanges(before, after);
        const replayed: Record<string, string> = { ...before };
        for (const { name, version } of added) replayed[name] = version;
        for (const { name, after: version } of changed) replayed[name] = version;
        for (const { name } of removed) delete replayed[name];
        expect(replayed).toEqual({ ...after });
      }),
    );
  });
});

describe('containment', () => {
  const locked = [pin('torch==2.13.0+cpu'), pin('numpy==2.0')];
  const of = (before: Record<string, string>, after: Record<string, string>, constraints: readonly string[] = []) =>
    contain(environmentChanges(before, after), locked, constraints, 'install.py');
  const whole = { torch: '2.13.0+cpu', numpy: '2.0' };

  it('puts back what is locked, whether it was replaced or removed', () => {
    expect(of(whole, { torch: '2.9.1' })).toEqual({
      adopt: [],
      restore: [pin('torch==2.13.0+cpu'), pin('numpy==2.0')],
      remove: [],
      words: ['install.py replaced torch 2.13.0+cpu by 2.9.1: undone', 'install.py removed numpy 2.0: undone'],
    });
  });

  it('adopts what is new, takes out what a constraint forbids', () => {
    const after = { ...whole, aiohttp: '3.14.2', fine: '1.0', other: '5', odd: 'what' };
    const result = of(whole, after, ['aiohttp!=3.14.2,!=3.14.3', 'fine<2', 'odd>=1', 'absent==1']);
    expect(result.adopt).toEqual(['fine', 'odd', 'other']);
    expect(result.remove).toEqual(['aiohttp']);
    expect(result.words).toEqual(['install.py added aiohttp 3.14.2, against the constraint aiohttp!=3.14.2,!=3.14.3: undone']);
    const changes = environmentChanges(whole, after);
    const adopted = new Set(['fine', 'odd']);
    expect(adoptionWords(changes, { by: 'install.py', adopted, removed: result.remove })).toEqual([
      'install.py added fine 1.0, odd what: adopted',
      'install.py added other 5, which the configured package indexes do not have: kept, not locked',
    ]);
    expect(adoptionWords(environmentChanges(whole, whole), { by: 'install.py', adopted, removed: [] })).toEqual([]);
  });

  it('keeps what nothing asks for as it was left', () => {
    expect(of({ ...whole, extra: '1', gone: '1' }, { ...whole, extra: '2' })).toEqual({
      adopt: ['extra'],
      restore: [],
      remove: [],
      words: ['install.py replaced extra 1 by 2, which nothing asks for: kept', 'install.py removed gone 1'],
    });
  });

  it('brings every environment back to what is locked, with additions only', () => {
    const pins = ['a==1.0', 'b==2.0'].map(pin);
    const start = { a: '1.0', b: '2.0' };
    fc.assert(
      fc.property(packages, fc.subarray(['c<2', 'd==2.0']), (after, constraints) => {
        const { restore, remove } = contain(environmentChanges(start, after), pins, constraints, 'x');
        const result: Record<string, string> = { ...after };
        for (const name of remove) delete result[name];
        for (const { name, version } of restore) result[name] = version ?? '';
        expect(result).toMatchObject(start);
        for (const line of constraints) {
          const { name = '', specifier = '' } = /^(?<name>\w)(?<specifier>.+)$/.exec(line)?.groups ?? {};
          const present = result[name];
          expect(present === undefined || meetsSpecifier(present, specifier)).toBe(true);
        }
      }),
    );
  });
});

describe('version specifiers', () => {
  it.each([
    ['2.0', '==2.0.0', true],
    ['2.13.0+cpu', '==2.13.0', true],
    ['2.13.0', '==2.13.0+cpu', false],
    ['2.13.0+cpu', '==2.13.0+cpu', true],
    ['1.10', '>1.9', true],
    ['1.0rc1', '<1.0', true],
    ['1.0.dev1', '<1.0a1', true],
    ['1.0.post1', '>=1.0', true],
    ['1.0.post1', '<=1.0', false],
    ['2.1', '>=2,<3', true],
    ['3.0', '>=2, <3', false],
    ['1.4.5', '~=1.4.2', true],
    ['1.5.0', '~=1.4.2', false],
    ['1.4.1', '~=1.4.2', false],
    ['1.4.9', '==1.4.*', true],
    ['1.5', '!=1.4.*', true],
    ['1.4.0', '!=1.4.*', false],
    ['2024.1', '===2024.1', true],
    ['1!1.0', '>2', true],
    ['3.14.2', '!=3.14.2,!=3.14.3', false],
    ['1.0', '', true],
    ['what', '>=1', null],
    ['1.0', '>=what', null],
    ['3.0', '>=what,<2', false],
  ])('%s meets %s: %s', (version, specifier, expected) => {
    expect(meetsSpecifier(version, specifier)).toBe(expected);
  });
});
