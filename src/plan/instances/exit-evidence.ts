import type { ExitEvidence } from '../../domain/instances/exit-evidence.ts';
import type { MemoryCounters } from '../../domain/instances/memory-group.ts';
import { lastWords } from './last-words.ts';
import { exitReason } from './restart-policy.ts';

export interface ExitInput {
  readonly at: number;
  readonly pid: number | null;
  readonly exitCode: number | null;
  readonly signal: string | null;
  readonly requested: boolean;
  /** Of its memory cgroup, from before its end and from after it; null: not known. */
  readonly before: MemoryCounters | null;
  readonly after: MemoryCounters | null;
  /** The kernel's own line about this pid; null: none, or it may not be read. */
  readonly kernelLine: string | null;
  /** Newest lines of its log, other incarnations' among them. */
  readonly log: readonly string[];
}

const KEPT_LINES = 50;
const KEPT_CHARACTERS = 500;

/** From what was seen of an end to its cause. Pure. */
export function judgeExit(input: ExitInput): ExitEvidence {
  const { at, pid, exitCode, signal, requested } = input;
  const kernel = outOfMemory(input);
  const plain = exitReason(exitCode, signal);
  const lines = ownLines(input.log, pid);
  const words = requested ? null : lastWords(lines, signal === null ? 'status' : 'signal');
  const told = words === null ? '' : ` (last line: ${words})`;
  const isClean = exitCode === 0 && signal === null;
  const cause = kernel.length > 0 ? 'out-of-memory-kill' : isClean ? 'clean-exit' : 'process-exit';
  const reason =
    cause === 'out-of-memory-kill'
      ? `killed by the kernel's OOM killer: ${kernel[0] ?? ''}`
      : cause === 'clean-exit' && !requested
        ? `${plain}, though nobody asked it to end${told}`
        : `${plain}${told}`;
  return { at, pid, wanted: requested, cause, reason, kernel, lines };
}

/** What says that it was the OOM killer; empty: nothing does. Only SIGKILL is its work. */
function outOfMemory({ signal, requested, before, after, kernelLine }: ExitInput): readonly string[] {
  if (signal !== 'SIGKILL' || requested) return [];
  const said: string[] = [];
  if (after !== null && after.oomKills !== null && before !== null && before.oomKills !== null && after.oomKills > before.oomKills) {
    const hits = before.limitHits === null || after.limitHits === null ? null : after.limitHits - before.limitHits;
    said.push(
      [
        `oom_kill of ${after.group} rose from ${before.oomKills} to ${after.oomKills}`,
        ...(after.limitBytes === null ? [] : [`its limit is ${Math.round(after.limitBytes / 1024 / 1024)} MiB`]),
        ...(hits === null || hits <= 0 ? [] : [`the limit was hit ${hits} times more`]),
      ].join(', '),
    );
  }
  if (kernelLine !== null) said.push(kernelLine.slice(0, KEPT_CHARACTERS));
  return said;
}

/** Written by the entry (ecosystem.template.js) where an incarnation begins. */
const BEGINNING = /^\[agent\] \S+ starts: pid (\d+)$/;

/** The lines of that incarnation, when the log tells; else the newest. A beginning of a later one ends them. */
function ownLines(log: readonly string[], pid: number | null): readonly string[] {
  const beginnings = log.flatMap((line, index) => {
    const found = BEGINNING.exec(line)?.[1];
    return found === undefined ? [] : [{ index, pid: Number(found) }];
  });
  const own = beginnings.findLast((each) => each.pid === pid);
  const next = own === undefined ? beginnings.at(-1) : beginnings.find((each) => each.index > own.index);
  // Without its own beginning, it began before these lines: whatever another one wrote after it is not its own.
  const lines = own === undefined ? log.slice(0, next?.index ?? log.length) : log.slice(own.index + 1, next?.index ?? log.length);
  return lines
    .filter((line) => line.trim() !== '')
    .slice(-KEPT_LINES)
    .map((line) => (line.length > KEPT_CHARACTERS ? `${line.slice(0, KEPT_CHARACTERS - 1)}…` : line));
}
