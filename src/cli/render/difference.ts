import type { LockChange } from '../../domain/lock.ts';
import type { Context } from '../context.ts';
import { table } from './table.ts';
import { plural } from './text.ts';

/** More package lines than this are counted, not listed; `--verbose` and `--json` have all. */
const PACKAGE_ROWS = 20;

/** What an update moves: one line for each, first ComfyUI and packs, then Python packages. */
export function differenceLines(
  changes: readonly LockChange[],
  { style, host, verbose }: Pick<Context, 'style' | 'host' | 'verbose'>,
): string[] {
  if (changes.length === 0) return [];
  const packages = changes.filter((change) => change.part === 'package');
  const shown =
    verbose || packages.length <= PACKAGE_ROWS
      ? changes
      : [...changes.filter((change) => change.part !== 'package'), ...packages.slice(0, PACKAGE_ROWS)];
  const tone = { added: 'good', removed: 'warn', changed: 'info' } as const;
  const rows = shown.map(({ part, name, change, before, after }) => [
    { text: change, paint: (text: string) => style.paint(tone[change], text) },
    part,
    name,
    before ?? '',
    after ?? '',
  ]);
  const hidden = changes.length - shown.length;
  return [
    ...table(
      [
        { title: 'change' },
        { title: 'part' },
        { title: 'name', shrink: true },
        { title: 'from', shrink: true },
        { title: 'to', shrink: true },
      ],
      rows,
      { columns: host.stdout.isTty ? host.stdout.columns : 0, ellipsis: style.symbols.ellipsis },
    ),
    ...(hidden === 0 ? [] : [style.paint('dim', `${style.symbols.ellipsis} and ${plural(hidden, 'more package')} (-v lists them)`)]),
  ];
}
