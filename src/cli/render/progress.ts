import type { InstallStep, PackStatus } from '../../domain/installation/release.ts';
import type { OperationDocument } from '../../domain/operation.ts';
import type { CliOutput } from '../host.ts';
import type { Style } from '../style.ts';
import { describeBytes, describeDuration } from './duration.ts';
import { bar, etaText, operationLine, percent, stepText } from './operation-line.ts';
import { clean, cut, padEnd, widthOf } from './text.ts';

/** Shows an operation while it runs. */
export interface ProgressView {
  update(operation: OperationDocument): void;
  /** Called about once a second. */
  tick(): void;
  /** Leaves the screen as a reader expects it. */
  end(): void;
}

interface ViewOptions {
  readonly output: CliOutput;
  readonly style: Style;
  readonly now: () => number;
}

/** Silence longer than this makes people think that it hangs. */
const HEARTBEAT_MS = 10_000;
/** Redrawing more often is work that nobody sees. */
const REDRAW_MS = 80;
const PACK_ROWS = 10;
const LEAST_BAR = 10;

/** For logs and pipes: one line for each thing that happened, and a sign of life every 10 s. */
export function plainView({ output, style, now }: ViewOptions): ProgressView {
  let last: OperationDocument | null = null;
  let lastLineAt = now();
  let began: number | null = null;
  const packStates = new Map<string, string>();
  const line = (text: string): void => {
    lastLineAt = now();
    const elapsed = `${Math.max(0, Math.round((now() - (began ?? now())) / 1_000))}s`;
    output.write(`${elapsed.padStart(5)}  ${text}\n`);
  };
  return {
    update(operation) {
      began ??= Date.parse(operation.startedAt);
      const before = last;
      last = operation;
      const { install } = operation;
      if (install === null) {
        // Waiting texts count seconds; only what changes in substance is a new line.
        const substance = (text: string): string => text.replace(/(?<!\d)\d+(\.\d+)? ?m?s\b/g, '');
        if (operation.state === 'running' && (before === null || substance(before.message) !== substance(operation.message)))
          line(clean(operation.message));
        return;
      }
      for (const step of install.steps) {
        const known = before?.install?.steps.find(({ name }) => name === step.name)?.state ?? 'pending';
        // One that was over before this command looked is no news.
        if (before !== null && known !== step.state && isOver(step)) line(`  ${stepEndText(step)}`);
      }
      if (before?.install?.step !== install.step) line(`${stepText(install)} (${percent(install.progress)})`);
      const stepDetail = (document: OperationDocument | null): string | null =>
        document?.install?.steps.find((step) => step.name === install.step)?.detail ?? null;
      const detail = stepDetail(operation);
      if (detail !== null && detail !== stepDetail(before)) line(`  ${clean(detail)}`);
      for (const pack of install.packs) {
        const known = packStates.get(pack.name);
        packStates.set(pack.name, pack.state);
        if (known === pack.state || pack.state === 'pending') continue;
        line(`  pack ${clean(pack.name)}: ${pack.state}${pack.error === null ? '' : `, ${clean(pack.error)}`}`);
      }
    },
    tick() {
      if (last === null || now() - lastLineAt < HEARTBEAT_MS) return;
      const activity = last.install?.activity ?? null;
      line(`${operationLine(last, style, now())}${activity === null ? '' : `  ${clean(activity)}`}`);
    },
    end() {},
  };
}

const isOver = ({ state }: InstallStep): boolean => state === 'done' || state === 'failed';

const stepEndText = ({ name, state, durationMs, bytes, cache }: InstallStep): string => {
  const facts = [
    `${name} ${state} in ${((durationMs ?? 0) / 1_000).toFixed(1)} s`,
    ...(bytes === 0 ? [] : [`${describeBytes(bytes)} received`]),
    ...(cache === null ? [] : [`${cache.hits} of ${cache.total} from the cache`]),
  ];
  return facts.join(', ');
};

/** For terminals: a bar and a line for each pack, redrawn in place. */
export function liveView({ output, style, now }: ViewOptions): ProgressView {
  let drawn = 0;
  let drawnAt = Number.NEGATIVE_INFINITY;
  let last: OperationDocument | null = null;
  const erase = (): string => (drawn === 0 ? '' : `\u001b[${drawn}A\u001b[0J`);
  const draw = (): void => {
    if (last === null) return;
    drawnAt = now();
    // A line that reaches the edge would wrap, and the count of lines to erase would be wrong.
    const width = Math.max(20, (output.columns || 80) - 1);
    const lines = liveLines(last, style, now(), width);
    output.write(`${erase()}${lines.join('\n')}\n`);
    drawn = lines.length;
  };
  return {
    update(operation) {
      last = operation;
      if (now() - drawnAt >= REDRAW_MS || operation.state !== 'running') draw();
    },
    tick: draw,
    end() {
      output.write(erase());
      drawn = 0;
    },
  };
}

/** The live region, no line wider than `width`. */
export function liveLines(operation: OperationDocument, style: Style, now: number, width: number): string[] {
  const { install, startedAt, progress } = operation;
  const fitted = (text: string): string => cut(text, width, style.symbols.ellipsis);
  if (install === null) return [fitted(operationLine(operation, style, now))];
  // The most telling first: the last ones are left out where there is no room.
  const facts = [
    percent(progress ?? install.progress),
    stepText(install),
    ...etaText(install),
    `${describeDuration(now - Date.parse(startedAt))} so far`,
    ...(install.bytes === 0 ? [] : [describeBytes(install.bytes)]),
  ];
  const room = width - widthOf(operation.kind) - 4 - LEAST_BAR;
  while (facts.length > 2 && widthOf(facts.join(', ')) > room) facts.pop();
  const text = facts.join(', ');
  const barWidth = Math.max(LEAST_BAR, Math.min(30, width - widthOf(operation.kind) - widthOf(text) - 4));
  const first = fitted(`${operation.kind}  ${bar(progress ?? install.progress, barWidth, style)}  ${text}`);
  const activity = install.activity === null ? [] : [style.paint('dim', fitted(`  ${clean(install.activity)}`))];
  return [first, ...activity, ...packLines(install.packs, style, fitted)];
}

const PACK_ORDER: Readonly<Record<PackStatus['state'], number>> = {
  failed: 0,
  fetching: 1,
  installing: 1,
  fetched: 2,
  pending: 3,
  installed: 4,
  loaded: 4,
};

/** What failed and what moves first; what does not fitted is counted. */
function packLines(packs: readonly PackStatus[], style: Style, fitted: (text: string) => string): string[] {
  if (packs.length === 0) return [];
  const shown =
    packs.length <= PACK_ROWS ? packs : packs.toSorted((a, b) => PACK_ORDER[a.state] - PACK_ORDER[b.state]).slice(0, PACK_ROWS - 1);
  const nameWidth = Math.min(32, Math.max(...shown.map((pack) => widthOf(clean(pack.name)))));
  const lines = shown.map((pack) => {
    const { symbol, tone } = packLook(pack.state, style);
    const text = fitted(
      `  ${symbol} ${padEnd(cut(clean(pack.name), nameWidth, style.symbols.ellipsis), nameWidth)}  ${pack.state}${pack.error === null ? '' : `: ${clean(pack.error)}`}`,
    );
    return style.paint(tone, text);
  });
  const done = packs.filter((pack) => pack.state === 'installed' || pack.state === 'loaded').length;
  return shown.length === packs.length
    ? lines
    : [
        ...lines,
        style.paint(
          'dim',
          fitted(`  ${style.symbols.ellipsis} and ${packs.length - shown.length} more; ${done} of ${packs.length} node packs are done`),
        ),
      ];
}

export const packLook = (
  state: PackStatus['state'],
  { symbols }: Style,
): { readonly symbol: string; readonly tone: 'good' | 'bad' | 'info' | 'dim' } => {
  if (state === 'failed') return { symbol: symbols.bad, tone: 'bad' };
  if (state === 'installed' || state === 'loaded') return { symbol: symbols.good, tone: 'good' };
  return state === 'pending' ? { symbol: symbols.off, tone: 'dim' } : { symbol: symbols.moving, tone: 'info' };
};
