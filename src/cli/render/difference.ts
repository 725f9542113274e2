import type { DriftDocument } from '../../domain/installation/drift.ts';
import type { LockChange } from '../../domain/installation/lock.ts';
import type { Context } from '../context.ts';
import { table } from './table.ts';
import { clean, plural } from './text.ts';

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

/** `agent install --verify`. */
export function driftLines(document: DriftDocument, { style, host }: Pick<Context, 'style' | 'host'>): string[] {
  const { release, drift, unknown, compared } = document;
  const counts = [plural(compared.sources, 'checkout'), plural(compared.packages, 'package'), plural(compared.models, 'model')].join(', ');
  const head = document.ok
    ? style.paint('good', `${style.symbols.good} release ${release} is as agent.lock.json has it`)
    : drift.length === 0
      ? style.paint('warn', `release ${release}: no difference was found, but not everything could be looked at`)
      : style.paint('bad', `${style.symbols.bad} release ${release} differs from agent.lock.json in ${plural(drift.length, 'place')}`);
  const screen = { columns: host.stdout.isTty ? host.stdout.columns : 0, ellipsis: style.symbols.ellipsis };
  return [
    `${head}  (compared: ${counts})`,
    ...(drift.length === 0
      ? []
      : table(
          [{ title: 'part' }, { title: 'name', shrink: true }, { title: 'difference', shrink: true }],
          drift.map(({ part, name, message }) => [part, name, message]),
          screen,
        )),
    ...unknown.map((what) => `${style.paint('warn', 'unknown')}  ${clean(what)}`),
    ...(drift.length === 0 ? [] : ['nothing was changed; `agent reinstall` builds it again as the lock has it']),
  ];
}
