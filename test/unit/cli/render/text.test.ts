import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { describeBytes, describeDuration, parseDuration, parseMoment } from '../../../../src/cli/render/duration.ts';
import { pairs, table } from '../../../../src/cli/render/table.ts';
import { clean, cut, hanging, padEnd, widthOf, wrap } from '../../../../src/cli/render/text.ts';
import { createStyle, speaksUnicode, wantsColor } from '../../../../src/cli/style.ts';

describe('durations', () => {
  it.each([
    ['90s', 90_000],
    ['10m', 600_000],
    ['1h30m', 5_400_000],
    ['500ms', 500],
    ['2', 2_000],
    ['1.5s', 1_500],
    ['2D', 172_800_000],
    ['', null],
    ['m', null],
    ['10x', null],
    ['-5s', null],
    ['10 s', null],
  ])('%s is %s ms', (text, ms) => expect(parseDuration(text)).toBe(ms));

  it.each([
    [400, '0s'],
    [47_000, '47s'],
    [95_000, '1m 35s'],
    [180_000, '3m'],
    [1_234_000, '20m'],
    [7_500_000, '2h 5m'],
    [90_000_000, '1d 1h'],
    [-5_000, '0s'],
  ])('%s ms are told as %s', (ms, text) => expect(describeDuration(ms)).toBe(text));

  it('reads moments from now, as ISO and as epoch', () => {
    const now = Date.parse('2026-11-21T12:00:00Z');
    expect(parseMoment('10m', now)).toBe(now - 600_000);
    expect(parseMoment('2026-11-21T11:00:00Z', now)).toBe(now - 3_600_000);
    expect(parseMoment(String(now), 0)).toBe(now);
    expect(parseMoment('yesterday', now)).toBeNull();
  });

  it.each([
    [0, '0 B'],
    [1_536, '1.5 KB'],
    [734_003_200, '700 MB'],
    [5_368_709_120, '5.0 GB'],
  ])('%s bytes are %s', (bytes, text) => expect(describeBytes(bytes)).toBe(text));
});

describe('text', () => {
  it('counts columns, not characters', () => {
    expect(widthOf('abc')).toBe(3);
    expect(widthOf('\u001b[31mabc\u001b[0m')).toBe(3);
    expect(widthOf('GPU 显卡')).toBe(8);
    expect(widthOf('e\u0301')).toBe(1);
    expect(widthOf('● ok')).toBe(4);
  });

  it('never lets foreign text move the cursor', () => {
    expect(clean('a\u001b[2Jb\r\nc\u0007d')).toBe('ab c d');
  });

  it('cuts to the width, never beyond', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', maxLength: 60 }), fc.integer({ min: 3, max: 40 }), (text, width) => {
        expect(widthOf(cut(clean(text), width, '…'))).toBeLessThanOrEqual(width);
      }),
    );
    expect(cut('NVIDIA RTX 6000 Ada', 10, '…')).toBe('NVIDIA RT…');
  });

  it('wraps at spaces and loses nothing', () => {
    fc.assert(
      fc.property(
        fc.array(fc.stringMatching(/^[a-z]{1,9}$/), { minLength: 1, maxLength: 20 }),
        fc.integer({ min: 10, max: 30 }),
        (words, width) => {
          const lines = wrap(words.join(' '), width);
          expect(lines.join(' ')).toBe(words.join(' '));
          for (const line of lines) expect(line.length).toBeLessThanOrEqual(width);
        },
      ),
    );
  });

  it('indents what follows below the first line', () => {
    expect(hanging('held  ', 'one two three four five six seven', 30)).toEqual(['held  one two three four five', '      six seven']);
    expect(hanging('held  ', 'one two', 0)).toEqual(['held  one two']);
  });
});

describe('tables', () => {
  const screen = { columns: 0, ellipsis: '…' };
  it('aligns left and right', () => {
    expect(
      table(
        [{ title: 'GPU', align: 'right' }, { title: 'NAME' }],
        [
          ['0', 'a'],
          ['12', 'long name'],
        ],
        screen,
      ),
    ).toEqual(['GPU  NAME', '  0  a', ' 12  long name']);
  });

  it('shrinks only what may shrink', () => {
    const lines = table([{ title: 'ID' }, { title: 'TEXT', shrink: true }], [['identifier', 'a text that is much too long for it']], {
      columns: 30,
      ellipsis: '…',
    });
    expect(lines[1]).toBe('identifier  a text that is mu…');
    expect(lines.every((line) => widthOf(line) <= 30)).toBe(true);
  });

  it('paints without moving anything', () => {
    const style = createStyle({ color: true, unicode: true });
    const [, line = ''] = table(
      [{ title: 'A' }, { title: 'B' }],
      [[{ text: 'x', paint: (text) => style.paint('bad', text) }, 'y']],
      screen,
    );
    expect(line).toBe('\u001b[31mx\u001b[0m  y');
  });

  it('pairs names with values', () => {
    expect(
      pairs([
        ['a', '1'],
        ['long', '2'],
      ]),
    ).toEqual(['a     1', 'long  2']);
    expect(padEnd('显', 4)).toBe('显  ');
  });
});

describe('what an output can show', () => {
  it.each([
    [true, true, {}, true],
    [false, true, {}, false],
    [true, false, {}, false],
    [true, true, { NO_COLOR: '1' }, false],
    [true, true, { NO_COLOR: '' }, true],
    [true, true, { TERM: 'dumb' }, false],
  ])('terminal %s, --color %s, %j: colours %s', (isTty, flag, environment, expected) =>
    expect(wantsColor(isTty, flag, environment)).toBe(expected),
  );

  it.each([
    [{ LANG: 'en_US.UTF-8' }, true],
    [{ LANG: 'C' }, false],
    [{}, false],
    [{ LC_ALL: 'C', LANG: 'en_US.UTF-8' }, false],
    [{ LC_CTYPE: 'C.utf8', LANG: 'C' }, true],
  ])('%j: symbols %s', (environment, expected) => expect(speaksUnicode(environment)).toBe(expected));
});
