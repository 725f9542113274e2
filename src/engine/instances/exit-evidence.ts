import { gpuOfInstance } from '../../domain/identity.ts';
import type { ExitEvidence } from '../../domain/instances/exit-evidence.ts';
import type { ProcessEvent } from '../../domain/instances/instance.ts';
import { judgeExit } from '../../plan/instances/exit-evidence.ts';
import { instanceLogFile } from '../../plan/instances/launch.ts';
import { createRedactor } from '../../plan/text/redact-text.ts';
import type { Ports } from '../../ports.ts';
import type { Knowledge } from '../knowledge.ts';

type ExitEvent = Extract<ProcessEvent, { kind: 'exit' }>;
type Outside = Pick<Ports, 'kernel' | 'files' | 'clock'>;

const KEPT_SAMPLES = 3;
/** A sample of the very moment of the end may have counted it already. */
const MARGIN_MS = 500;
/** Lines looked at: those of a respawn may follow those of the one that ended. */
const LOG_LINES = 200;
/** More than is kept of a line: a secret that is cut would not be known for one. */
const LINE_CHARACTERS = 2_000;

/** Remembers the memory cgroup of each process while it lives: afterwards nobody can tell where it was. */
export async function watchMemory({ kernel, clock }: Outside, knowledge: Knowledge): Promise<void> {
  const { incarnations } = knowledge.observed ?? { incarnations: new Map() };
  for (const [name, seen] of incarnations) {
    if (!seen.known || seen.value === null) continue;
    const { pid } = seen.value;
    const record = knowledge.instances.named(name);
    if (record === null) continue;
    const group = await kernel.memoryGroup(pid).catch(() => null);
    const counters = group === null ? null : await kernel.memoryCounters(group).catch(() => null);
    if (group === null || counters === null) continue;
    // One that died before it was looked at was in the cgroup of those before it, most likely.
    const samples = record.memory?.group === group ? record.memory.samples : [];
    record.memory = { group, samples: [...samples, { at: clock.now(), counters }].slice(-KEPT_SAMPLES) };
  }
}

/** Gathers what can be known of an end, at once: the next incarnation writes to the same log. Never rejects. */
export async function gatherExit({ kernel, files }: Outside, knowledge: Knowledge, event: ExitEvent): Promise<ExitEvidence> {
  const watch = knowledge.instances.named(event.name)?.memory ?? null;
  const isKill = event.signal === 'SIGKILL' && !event.requested;
  const gpu = gpuOfInstance(event.name);
  const before = watch?.samples.findLast(({ at }) => at <= event.at - MARGIN_MS)?.counters ?? null;
  const [after, kernelLine, log] = await Promise.all([
    isKill && watch !== null ? kernel.memoryCounters(watch.group).catch(() => null) : null,
    isKill && event.pid !== null ? kernel.outOfMemoryLine(event.pid).catch(() => null) : null,
    gpu === null ? [] : newestLines(files, instanceLogFile(knowledge.configuration.layout, gpu)),
  ]);
  return judgeExit({ ...event, before, after, kernelLine, log: masked(log, knowledge) });
}

/** These lines are shown to whoever asks for health. */
function masked(lines: readonly string[], { configuration: { config, secrets } }: Knowledge): readonly string[] {
  const { text } = createRedactor({ ...secrets.environment, ...config.comfyui.environment, AGENT_TOKEN: secrets.token ?? undefined });
  return lines.map((line) => text(line.slice(0, LINE_CHARACTERS)));
}

async function newestLines(files: Pick<Ports, 'files'>['files'], path: string): Promise<readonly string[]> {
  const lines: string[] = [];
  try {
    for await (const line of files.tail(path, { lines: LOG_LINES, follow: false }, new AbortController().signal)) lines.push(line);
  } catch {
    // What cannot be read is not told.
  }
  return lines;
}
