import { clean, cut, padEnd, padStart, widthOf } from './text.ts';

export interface Column {
  readonly title: string;
  readonly align?: 'left' | 'right';
  /** Gives way first when the table is wider than the screen; never below its title or 8 columns. */
  readonly shrink?: boolean;
}

/** A cell: text, or text with a way to paint it that does not change its width. */
export type Cell = string | { readonly text: string; readonly paint: (text: string) => string };

const GAP = 2;
const LEAST = 8;

/** Aligned lines, title first. `columns` 0: as wide as it needs. */
export function table(
  columns: readonly Column[],
  rows: readonly (readonly Cell[])[],
  screen: { readonly columns: number; readonly ellipsis: string },
): string[] {
  const cells = rows.map((row) => columns.map((_, index) => plainCell(row[index] ?? '')));
  const widths = columns.map(({ title }, index) => Math.max(widthOf(title), ...cells.map((row) => widthOf(row[index]?.text ?? ''))));
  shrink(columns, widths, screen.columns);
  const lines = [columns.map(({ title }) => ({ text: title, paint: same })), ...cells];
  return lines.map((row) =>
    row
      .map(({ text, paint }, index) => {
        const width = widths[index] ?? 0;
        const fitting = cut(text, width, screen.ellipsis);
        const padding = columns[index]?.align === 'right' ? padStart : padEnd;
        return padding(fitting, width).replace(fitting, () => paint(fitting));
      })
      .join(' '.repeat(GAP))
      .trimEnd(),
  );
}

const same = (text: string): string => text;
const plainCell = (cell: Cell): { readonly text: string; readonly paint: (text: string) => string } =>
  typeof cell === 'string' ? { text: clean(cell), paint: same } : { text: clean(cell.text), paint: cell.paint };

function shrink(columns: readonly Column[], widths: number[], screen: number): void {
  if (screen <= 0) return;
  const excess = (): number => widths.reduce((sum, width) => sum + width, 0) + GAP * (columns.length - 1) - screen;
  const candidates = columns.map((column, index) => ({ column, index })).filter(({ column }) => column.shrink === true);
  while (excess() > 0) {
    const widest = candidates.toSorted((a, b) => (widths[b.index] ?? 0) - (widths[a.index] ?? 0))[0];
    if (widest === undefined) return;
    const least = Math.max(LEAST, widthOf(widest.column.title));
    const width = widths[widest.index] ?? 0;
    if (width <= least) return;
    widths[widest.index] = Math.max(least, width - excess());
  }
}

/** Two columns without a title: names on the left. */
export function pairs(rows: readonly (readonly [name: string, value: string])[]): string[] {
  const width = Math.max(0, ...rows.map(([name]) => widthOf(name)));
  return rows.map(([name, value]) => `${padEnd(name, width)}  ${value}`.trimEnd());
}
