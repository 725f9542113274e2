import { availableParallelism } from 'node:os';
import type { FaultRow, RowReport } from './row.ts';
import { runRow } from './run-row.ts';
import type { Scene } from './scene.ts';
import { openStage, type StageName } from './stages.ts';

/** Rows mostly wait, so that more agents than cores can be looked after. */
const LANES = Number(process.env['FAULTS_LANES'] ?? Math.max(2, availableParallelism() + 1));
/** Rows that share one agent, before another is started for those after them: fewer where each waits for long. */
const ROWS_PER_STAGE: Partial<Record<StageName, number>> = { cards: 4, patient: 1, eager: 4 };
const ROWS_PER_OTHER_STAGE = 9;

export interface RunningRows {
  /** By id; none rejects. */
  readonly reports: ReadonlyMap<string, Promise<RowReport>>;
  /** Every agent has ended, and its root is gone. */
  readonly ended: Promise<void>;
}

/** Runs all rows, those of one stage one after the other on one agent, several agents side by side. One promise for each row. */
export function runRows(rows: readonly FaultRow[]): RunningRows {
  const results = new Map(rows.map((row) => [row.id, Promise.withResolvers<RowReport>()]));
  const groups = chunks(rows);
  const lane = async (): Promise<void> => {
    for (let group = groups.shift(); group !== undefined; group = groups.shift()) {
      await runGroup(group, (report) => results.get(report.id)?.resolve(report));
    }
  };
  const lanes = Array.from({ length: LANES }, lane);
  return {
    reports: new Map([...results].map(([id, { promise }]) => [id, promise])),
    ended: Promise.all(lanes).then(() => undefined),
  };
}

function chunks(rows: readonly FaultRow[]): FaultRow[][] {
  const byStage = new Map<StageName, FaultRow[]>();
  for (const row of rows) byStage.set(row.stage, [...(byStage.get(row.stage) ?? []), row]);
  const all = [...byStage].flatMap(([stage, group]) => {
    const parts = Math.ceil(group.length / (ROWS_PER_STAGE[stage] ?? ROWS_PER_OTHER_STAGE));
    return Array.from({ length: parts }, (_, part) => group.filter((_, index) => index % parts === part));
  });
  // The longest first, so that no lane ends alone.
  return all.sort((a, b) => b.length - a.length);
}

async function runGroup(rows: readonly FaultRow[], onReport: (report: RowReport) => void): Promise<void> {
  let scene: Scene | null = null;
  for (const row of rows) {
    try {
      scene ??= await openStage(row.stage);
    } catch (error) {
      onReport({
        id: row.id,
        ok: false,
        seenMs: [],
        backMs: null,
        tookMs: 0,
        error: `the stage ${row.stage} does not start: ${String(error)}`,
      });
      continue;
    }
    const report = await runRow(row, scene);
    const ended = await scene.endRow().then(
      () => null,
      (error: unknown) => String(error),
    );
    onReport(report.ok && ended !== null ? { ...report, ok: false, error: `the row could not be ended: ${ended}` } : report);
    // What a failed row leaves is nobody's ground.
    if (!report.ok || ended !== null) {
      await scene.close().catch(() => undefined);
      scene = null;
    }
  }
  await scene?.close().catch(() => undefined);
}
