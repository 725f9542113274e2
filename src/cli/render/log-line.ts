import { stripVTControlCharacters } from 'node:util';
import type { LogLine } from '../../domain/journal.ts';
import type { Style, Tone } from '../style.ts';

/** Log lines for people: the agent's JSON as text, foreign output without what would move the cursor. */

const LEVELS: Readonly<Record<number, readonly [name: string, tone: Tone | null]>> = {
  20: ['debug', 'dim'],
  30: ['info', null],
  40: ['warn', 'warn'],
  50: ['error', 'bad'],
};
const TONES: readonly Tone[] = ['info', 'good', 'warn'];

/** A line of the agent's own log (pino); null for anything else. */
function agentRecord(
  line: string,
): { readonly time: string; readonly level: number; readonly msg: string; readonly facts: Record<string, unknown> } | null {
  if (!line.startsWith('{"level":')) return null;
  try {
    const { time, level, msg, ...facts } = JSON.parse(line) as { time?: unknown; level?: unknown; msg?: unknown } & Record<string, unknown>;
    return typeof time === 'string' && typeof level === 'number' ? { time, level, msg: typeof msg === 'string' ? msg : '', facts } : null;
  } catch {
    return null;
  }
}

/** `2026-11-21 12:00:01 warn  instance 0: message`, with all facts when `verbose`; other lines as they are. */
export function readableLine(line: string, style: Style, verbose = false): string {
  const record = agentRecord(line);
  if (record === null) return plainLine(line);
  const [name, tone] = LEVELS[record.level] ?? ['', null];
  const { target, ...others } = record.facts;
  const facts = Object.entries(others)
    .filter(([key, value]) => value !== null && typeof value !== 'object' && (verbose || key === 'cause'))
    .map(([key, value]) => `${key}=${String(value)}`);
  const about = typeof target === 'string' ? `${target}: ` : '';
  const when = record.time.slice(0, 19).replace('T', ' ');
  const text = plainLine(`${when} ${name.padEnd(5)} ${about}${record.msg}${facts.length === 0 ? '' : `  ${facts.join(' ')}`}`);
  return tone === null ? text : style.paint(tone, text);
}

/** A progress bar redraws itself with carriage returns: its last state is the line. */
function plainLine(line: string): string {
  const last = line.replace(/\r+$/, '').split('\r').at(-1) ?? '';
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is removed
  return stripVTControlCharacters(last).replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, '');
}

/** `gpu0   | line`, a colour for each source. */
export function sourcePrefix(source: string, style: Style): string {
  const name = /^\d+$/.test(source) ? `gpu${source}` : source;
  const index = /(?<!\d)\d+$/.exec(name)?.[0];
  return style.paint(index === undefined ? 'dim' : (TONES[Number(index) % TONES.length] ?? 'info'), `${name.padEnd(7)} |`);
}

/** When a line was written, epoch ms; null when it does not say. ComfyUI's own lines do not. */
export function timeOfLine(line: string): number | null {
  const record = agentRecord(line);
  const written =
    record?.time ?? /^\[?(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?)\b/.exec(line)?.[1]?.replace(',', '.');
  if (written === undefined) return null;
  const at = Date.parse(written);
  return Number.isFinite(at) ? at : null;
}

/** Keeps lines from `since` on. A line without a time belongs to the one before it of the same source. */
export function sinceFilter(since: number | null): (line: LogLine) => boolean {
  const lastKnown = new Map<string, boolean>();
  return ({ source, line }) => {
    if (since === null) return true;
    const at = timeOfLine(line);
    const isNew = at === null ? (lastKnown.get(source) ?? true) : at >= since;
    lastKnown.set(source, isNew);
    return isNew;
  };
}
