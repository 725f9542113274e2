import { type LogSigns, readLogSigns } from '../domain/faults/log-signs.ts';
import type { Files } from '../ports/files.ts';
import { type Outcome, type Probe, type ProbeHistory, pass } from './probe.ts';

const PERIOD_MS = 1_000;
/** Of a flood only the newest part is read: the log must not slow the probes. */
const WINDOW_BYTES = 256 * 1024;
/** Printed once in each start, before HTTP is served: what stands above it may be of an earlier process. */
const START_MARKER = 'Starting server';

/** What was last read of the log, and the signs seen so far. Times are epoch ms of the look that saw it first or last. */
interface LogFacts {
  /** Where the next look begins. */
  readonly offset: number;
  readonly movedAt: number | null;
  readonly workerDead: { readonly at: number; readonly lines: readonly string[] } | null;
  readonly cudaError: { readonly at: number; readonly line: string } | null;
  /** The newest of each. */
  readonly suspect: { readonly at: number; readonly line: string } | null;
  readonly outOfMemory: { readonly at: number; readonly line: string } | null;
}

/** Signs of faults in the log of an instance that serves. Records what it saw; verdicts are made from it. */
export const logProbe: Probe = {
  name: 'log',
  layer: 'functional',
  dueIn: (history) => (!history.everPassed('http') ? null : history.latest('log') === undefined ? 0 : PERIOD_MS),
  run: async (target, { files, clock }, _signal, history): Promise<Outcome> => {
    const before = logFacts(history);
    const part = await readNew(files, target.logFile, before);
    const { text, offset } = part;
    const signs = readLogSigns(text);
    return pass({ ...merge(before, signs, clock.now()), offset });
  },
};

/** The facts of the look before; null: this is the first of the incarnation. */
function logFacts(history: ProbeHistory): LogFacts | null {
  const facts = history.latest('log')?.facts;
  // Written by this probe and by nobody else.
  return facts === undefined ? null : (facts as unknown as LogFacts);
}

/** Whole lines that are new; `\r` ends one too, as progress bars have no other end. */
async function readNew(files: Files, path: string, before: LogFacts | null): Promise<{ readonly text: string; readonly offset: number }> {
  const last = before?.offset ?? null;
  let part = await files.readPart(path, last ?? -WINDOW_BYTES, WINDOW_BYTES);
  if (part === null) return { text: '', offset: 0 };
  if (last !== null && (part.size < last || part.next < part.size))
    part = (await files.readPart(path, -WINDOW_BYTES, WINDOW_BYTES)) ?? part;
  const end = Math.max(part.text.lastIndexOf('\n'), part.text.lastIndexOf('\r')) + 1;
  const rest = Buffer.byteLength(part.text.slice(end));
  const isWhole = end > 0 || rest >= WINDOW_BYTES;
  const text = isWhole ? part.text.slice(0, end === 0 ? undefined : end) : '';
  const offset = part.next - (end === 0 && isWhole ? 0 : rest);
  const marker = last === null ? text.lastIndexOf(START_MARKER) : -1;
  return { text: marker < 0 ? text : text.slice(marker), offset };
}

function merge(before: LogFacts | null, signs: LogSigns, at: number): Omit<LogFacts, 'offset'> {
  const { workerDead, cudaError, suspect, outOfMemory, moved } = signs;
  return {
    movedAt: moved ? at : (before?.movedAt ?? null),
    workerDead: before?.workerDead ?? (workerDead === null ? null : { at, lines: workerDead }),
    cudaError: before?.cudaError ?? (cudaError === null ? null : { at, line: cudaError }),
    suspect: suspect === null ? (before?.suspect ?? null) : { at, line: suspect },
    outOfMemory: outOfMemory === null ? (before?.outOfMemory ?? null) : { at, line: outOfMemory },
  };
}
