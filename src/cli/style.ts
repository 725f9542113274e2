/** How text may look on this output: colours only on a terminal that wants them, symbols only where they can be shown. */

export type Tone = 'good' | 'warn' | 'bad' | 'info' | 'dim' | 'bold';

export interface Style {
  paint(tone: Tone, text: string): string;
  readonly symbols: Symbols;
}

export interface Symbols {
  readonly good: string;
  readonly partly: string;
  readonly bad: string;
  readonly unknown: string;
  readonly moving: string;
  readonly off: string;
  readonly alarm: string;
  readonly arrow: string;
  readonly ellipsis: string;
  readonly barFull: string;
  readonly barEmpty: string;
}

const CODES: Readonly<Record<Tone, number>> = { good: 32, warn: 33, bad: 31, info: 36, dim: 2, bold: 1 };

export const UNICODE_SYMBOLS: Symbols = {
  good: '●',
  partly: '◐',
  bad: '✗',
  unknown: '?',
  moving: '◌',
  off: '○',
  alarm: '▲',
  arrow: '→',
  ellipsis: '…',
  barFull: '█',
  barEmpty: '░',
};

export const ASCII_SYMBOLS: Symbols = {
  good: '*',
  partly: '~',
  bad: 'x',
  unknown: '?',
  moving: 'o',
  off: '-',
  alarm: '!',
  arrow: '->',
  ellipsis: '...',
  barFull: '#',
  barEmpty: '.',
};

export const createStyle = (options: { readonly color: boolean; readonly unicode: boolean }): Style => ({
  paint: (tone, text) => (options.color && text !== '' ? `\u001b[${CODES[tone]}m${text}\u001b[0m` : text),
  symbols: options.unicode ? UNICODE_SYMBOLS : ASCII_SYMBOLS,
});

type Environment = Readonly<Record<string, string | undefined>>;

/** NO_COLOR (no-color.org) and `TERM=dumb` win over a terminal. */
export const wantsColor = (isTty: boolean, flag: boolean, environment: Environment): boolean =>
  isTty && flag && (environment['NO_COLOR'] ?? '') === '' && environment['TERM'] !== 'dumb';

/** The first of LC_ALL, LC_CTYPE, LANG that is set decides, as in every program. */
export const speaksUnicode = (environment: Environment): boolean => {
  const locale = [environment['LC_ALL'], environment['LC_CTYPE'], environment['LANG']].find((value) => value !== undefined && value !== '');
  return /utf-?8/i.test(locale ?? '');
};
