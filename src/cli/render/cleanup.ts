import type { CleanupDocument } from '../../domain/upkeep/cleanup.ts';
import type { Context } from '../context.ts';
import { describeBytes } from './duration.ts';
import { type Cell, table } from './table.ts';
import { clean } from './text.ts';

/** What went or would go, place by place; the sum last. Places with nothing are left out. */
export function cleanupLines(
  { areas }: CleanupDocument,
  message: string,
  { style, host, quiet }: Pick<Context, 'style' | 'host' | 'quiet'>,
): string[] {
  const shown = areas.filter(({ removed, problem }) => removed.files > 0 || problem !== null);
  if (quiet || shown.length === 0) return [message];
  const rows = shown.map(({ area, directory, removed, reasons, problem }): Cell[] => [
    area,
    String(removed.files),
    describeBytes(removed.bytes),
    problem === null ? reasons.join(', ') : { text: clean(problem), paint: (text) => style.paint('warn', text) },
    clean(directory),
  ]);
  const columns = [
    { title: 'AREA' },
    { title: 'ENTRIES', align: 'right' as const },
    { title: 'SIZE', align: 'right' as const },
    { title: 'WHY', shrink: true },
    { title: 'WHERE' },
  ];
  const screen = { columns: host.stdout.isTty ? host.stdout.columns : 0, ellipsis: style.symbols.ellipsis };
  return [...table(columns, rows, screen), '', message];
}
