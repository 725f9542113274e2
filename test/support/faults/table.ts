import type { Expectation, FaultRow, RowReport } from './row.ts';

/** docs/faults.md of the rows, with the times of a run. Pure. */

const BEGIN = '<!-- rows: made by `npm run generate` -->';
const END = '<!-- end of rows -->';

const seconds = (ms: number): string => (ms < 1_000 ? `${Math.round(ms)} ms` : `${(ms / 1_000).toFixed(1)} s`);
const cell = (text: string): string => text.replaceAll('|', '\\|').replaceAll('\n', ' ');

const said = (expectation: Expectation, measured: number | null | undefined): string => {
  if (expectation.kind === 'stays') return `${expectation.says} (for ${seconds(expectation.forMs)})`;
  return `${expectation.says} (${measured === null || measured === undefined ? '' : `${seconds(measured)} of `}${seconds(expectation.figureMs)})`;
};

function lineOf(row: FaultRow, report: RowReport | undefined): string {
  const health = row.health.map((expectation, index) => said(expectation, report?.seenMs[index])).join('; then ');
  const heal = row.heal === undefined ? '' : `${row.heal.words}: `;
  const back = report?.backMs === null || report?.backMs === undefined ? '' : `${seconds(report.backMs)} of `;
  const untouched = row.untouched.length === 0 ? '' : row.untouched.map(({ what }) => what).join('; ');
  return `| \`${row.id}\` | ${[row.source, row.fault, health, row.done.words, untouched, `${heal}${back}${seconds(row.back.figureMs)}`].map(cell).join(' | ')} |`;
}

/** The whole text of docs/faults.md around the table that is made anew. */
export function faultsDocument(before: string, rows: readonly FaultRow[], reports: readonly RowReport[]): string {
  const [head, rest] = before.split(BEGIN);
  const tail = rest?.split(END)[1];
  if (head === undefined || tail === undefined) throw new Error(`docs/faults.md has lost its line ${BEGIN} or ${END}`);
  const table = [
    '| fault | known from | what is made | what health says (measured of figure) | what the agent does | what is left alone | ready again |',
    '|---|---|---|---|---|---|---|',
    ...rows.map((row) =>
      lineOf(
        row,
        reports.find(({ id, ok }) => id === row.id && ok),
      ),
    ),
  ].join('\n');
  return `${head}${BEGIN}\n\n${table}\n\n${END}${tail}`;
}

/** Without measured times, which differ from run to run. */
export const withoutTimes = (text: string): string => text.replaceAll(/[\d.]+ m?s of /g, '');

/** The times that stand in a document: what a row without a new measurement keeps. */
export function keepTimes(before: string, now: string): string {
  const lines = new Map(before.split('\n').map((line) => [withoutTimes(line), line]));
  return now
    .split('\n')
    .map((line) => (line === withoutTimes(line) ? (lines.get(line) ?? line) : line))
    .join('\n');
}
