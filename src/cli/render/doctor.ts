import type { DoctorDocument, Finding } from '../../domain/doctor/doctor.ts';
import type { Context } from '../context.ts';
import type { Style, Tone } from '../style.ts';
import { clean, hanging, padEnd, plural } from './text.ts';

const TONES: Readonly<Record<Finding['status'], Tone>> = { ok: 'good', warn: 'warn', fail: 'bad', unknown: 'info' };

/** In the order they were looked at; remedies below; the count last, next to the prompt. */
export function doctorLines(
  { findings, root }: DoctorDocument,
  { style, host, quiet }: Pick<Context, 'style' | 'host' | 'quiet'>,
): string[] {
  const columns = host.stdout.isTty ? host.stdout.columns : 0;
  const lines = findingLines(
    findings.filter(({ status }) => !quiet || status !== 'ok'),
    { style, columns },
  );
  const count = (status: Finding['status']): number => findings.filter((finding) => finding.status === status).length;
  const [fails, warns, unknowns] = [count('fail'), count('warn'), count('unknown')];
  const summary =
    fails > 0
      ? style.paint(
          'bad',
          `${plural(fails, 'check')} failed: ${findings
            .filter(({ status }) => status === 'fail')
            .map(({ check }) => check)
            .join(', ')}`,
        )
      : style.paint('good', `nothing is in the way on ${clean(root)}`);
  const rest = [...(warns > 0 ? [plural(warns, 'warning')] : []), ...(unknowns > 0 ? [`${unknowns} could not be looked at`] : [])].join(
    ', ',
  );
  return [...lines, '', rest === '' ? summary : `${summary}; ${rest}`];
}

/** Each with its remedy below. `columns` 0: as wide as it needs. */
export function findingLines(
  findings: readonly Finding[],
  { style, columns }: { readonly style: Style; readonly columns: number },
): string[] {
  const width = Math.max(0, ...findings.map(({ check }) => check.length));
  return findings.flatMap(({ check, status, message, help }) => {
    const label = `${style.paint(TONES[status], padEnd(status, 7))}  ${padEnd(check, width)}  `;
    return [
      ...hanging(label, clean(message), columns),
      ...(help === null ? [] : hanging(`${' '.repeat(9)}${' '.repeat(width)}  ${style.symbols.arrow} `, clean(help), columns)),
    ];
  });
}
