import type { FaultKind } from '../domain/faults/verdict.ts';
import type { Hold } from '../domain/hold.ts';
import { instanceName, instanceTarget } from '../domain/identity.ts';
import type { ExitEvidence } from '../domain/instances/exit-evidence.ts';
import type { ProcessEvent } from '../domain/instances/instance.ts';
import { type Exit, exitReason } from '../plan/instances/restart-policy.ts';
import type { InstanceRecord } from './instance-records.ts';
import type { Journal } from './journal.ts';
import type { Knowledge } from './knowledge.ts';

/** Holds that end by themselves and need nobody's attention. */
const PASSING: ReadonlySet<string> = new Set(['WAITING', 'ROLLING', 'DRAINING']);
/** Exits kept for each instance: more than any window counts. */
const KEPT_EXITS = 200;
const CLOCK_SLACK_MS = 60_000;
const EXIT_EVENT = 'instance.exit';
const RECOUNT_EVENT = 'instance.recount';

/** Writes down which holds appeared and which are gone. */
export function recordHolds(journal: Journal, before: readonly Hold[], now: readonly Hold[]): void {
  const same = (a: Hold, b: Hold) => a.target === b.target && a.code === b.code;
  for (const hold of now) {
    if (before.some((old) => same(old, hold))) continue;
    const level = PASSING.has(hold.code) ? 'info' : 'warn';
    journal.record({ type: 'hold.set', target: hold.target, level, message: hold.reason, data: { code: hold.code, help: hold.help } });
  }
  for (const old of before) {
    if (now.some((hold) => same(old, hold))) continue;
    journal.record({
      type: 'hold.cleared',
      target: old.target,
      level: 'info',
      message: `no longer: ${old.reason}`,
      data: { code: old.code },
    });
  }
}

/** Counts an end at once, and tells apart what was asked for; it is written down with its evidence, by `recordExit`. */
export function recordProcessEvent(journal: Journal, knowledge: Knowledge, event: ProcessEvent): void {
  if (event.kind === 'daemon-lost') {
    const message = 'the PM2 daemon is gone; instances are left alone until it can be asked again';
    journal.record({ type: 'pm2.lost', target: 'machine', level: 'error', message, data: {} });
    return;
  }
  if (event.kind !== 'exit') return;
  addExit(knowledge, event.name, { at: event.at, reason: exitReason(event.exitCode, event.signal), wanted: event.requested });
}

/** Writes an end down with what was found out about it; from now on its reason is told in full. */
export function recordExit(
  journal: Journal,
  knowledge: Knowledge,
  event: Extract<ProcessEvent, { kind: 'exit' }>,
  exit: ExitEvidence,
): void {
  const { reason, wanted, cause, pid, kernel, lines } = exit;
  const gpu = knowledge.desired?.instances.find((instance) => instance.name === event.name)?.gpu;
  const record = knowledge.instances.named(event.name);
  if (record !== null) {
    // That the agent ended it because of a fault may have been noted in the same moment.
    record.exits = record.exits.map((each) => (each.at === event.at && each.fault === undefined ? { ...each, reason } : each));
    record.lastExit = exit;
  }
  journal.record({
    type: EXIT_EVENT,
    target: gpu === undefined ? event.name : instanceTarget(gpu),
    level: wanted ? 'info' : 'warn',
    message: wanted ? `ended as asked (${reason})` : `ended by itself: ${reason}`,
    data: {
      name: event.name,
      exitCode: event.exitCode,
      signal: event.signal,
      wanted,
      reason,
      pid,
      ...(wanted ? {} : { cause, evidence: [...kernel, ...lines] }),
    },
  });
}

/** The agent ends an instance because of a fault: it counts as if it had ended by itself, or restarts would never end. */
export function recordRemedy(
  journal: Journal,
  knowledge: Knowledge,
  action: { readonly gpu: number; readonly name: string; readonly reason: string; readonly fault: FaultKind },
  at: number,
): void {
  const { name, fault } = action;
  const reason = `ended because of ${fault}: ${action.reason}`;
  addExit(knowledge, name, { at, reason, wanted: false, fault });
  journal.record({
    type: EXIT_EVENT,
    target: instanceTarget(action.gpu),
    level: 'warn',
    message: `is ended because of ${fault}: ${action.reason}`,
    data: { name, exitCode: null, signal: null, wanted: false, reason, fault },
  });
}

function addExit(knowledge: Knowledge, name: string, exit: Exit): void {
  const record = knowledge.instances.named(name);
  if (record !== null) record.exits = [...record.exits, exit].slice(-KEPT_EXITS);
}

/** A start by hand begins a new count: the operator has seen the old one; so does another release. Written down, for the agents after this one. */
export function forgiveExits(journal: Journal, knowledge: Knowledge, gpu: number, why = 'asked for by hand'): void {
  const counted = knowledge.instances.of(gpu).exits.filter((exit) => exit.at > 0 && !exit.wanted);
  if (counted.length === 0) return;
  journal.record({
    type: RECOUNT_EVENT,
    target: instanceTarget(gpu),
    level: 'info',
    message: `${why}: what ended before counts no longer`,
    data: { name: instanceName(gpu) },
  });
  forget(knowledge.instances.of(gpu));
}

/** They stay in the total, outside of any window. */
function forget(record: InstanceRecord | null): void {
  if (record !== null) record.exits = record.exits.map((exit) => ({ ...exit, at: 0 }));
}

/** Ends within the window that an earlier agent saw: restarting the agent must not forgive a crash loop. */
export function recallExits(journal: Journal, knowledge: Knowledge, now: number): void {
  const { restartWindowMs } = knowledge.configuration.config.health;
  for (const event of journal.newest(2_000)) {
    const { name, reason, wanted, fault } = event.data;
    const at = Date.parse(event.at);
    if (event.type === RECOUNT_EVENT && typeof name === 'string') forget(knowledge.instances.named(name));
    // One of the future was written before the clock was set back: when it was cannot be told.
    if (
      event.type !== EXIT_EVENT ||
      now - at > restartWindowMs ||
      at > now + CLOCK_SLACK_MS ||
      typeof name !== 'string' ||
      typeof reason !== 'string'
    )
      continue;
    addExit(knowledge, name, { at, reason, wanted: wanted === true, ...(typeof fault === 'string' ? { fault } : {}) });
  }
}
