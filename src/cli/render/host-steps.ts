import type { HostStep } from '../../domain/host/host.ts';
import type { Context } from '../context.ts';
import { table } from './table.ts';
import { plural } from './text.ts';

/** What would be done, in order. */
export function stepLines(steps: readonly HostStep[], { style, host }: Pick<Context, 'style' | 'host'>): string[] {
  if (steps.length === 0) return ['nothing is to be done'];
  return [
    ...table(
      [{ title: '', align: 'right' }, { title: 'WHAT' }, { title: 'WHY', shrink: true }, { title: 'HOW', shrink: true }],
      steps.map(({ what, why, how }, index) => [String(index + 1), what, why, how]),
      { columns: host.stdout.isTty ? host.stdout.columns : 0, ellipsis: style.symbols.ellipsis },
    ),
    '',
    `${plural(steps.length, 'step')}; nothing was changed`,
  ];
}
