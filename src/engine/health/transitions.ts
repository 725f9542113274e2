import type { Verdict } from '../../domain/faults/verdict.ts';
import type { Documents } from '../../domain/health/documents.ts';
import { instanceTarget } from '../../domain/identity.ts';
import { instanceReason } from '../../plan/health/summary.ts';
import type { Journal } from '../journal.ts';

/** States that nobody asked for. */
const TROUBLE: ReadonlySet<string> = new Set(['unhealthy', 'unknown', 'quarantined']);

/** Writes down what changed for people: an instance that became ready or not, a machine that changed its state. */
export function recordTransitions(journal: Journal, now: Documents, before: Documents): void {
  for (const instance of now.instances.instances) {
    const old = before.instances.instances.find((candidate) => candidate.gpu === instance.gpu);
    if (old === undefined) continue;
    recordVerdicts(journal, instanceTarget(instance.gpu), instance.verdicts, old.verdicts);
    if (old.status === instance.status && old.ready === instance.ready) continue;
    const target = instanceTarget(instance.gpu);
    const data = { status: instance.status, before: old.status, ready: instance.ready, pid: instance.pid, port: instance.port };
    if (instance.ready !== old.ready) {
      journal.record({
        type: instance.ready ? 'instance.ready' : 'instance.not-ready',
        target,
        level: TROUBLE.has(instance.status) ? 'warn' : 'info',
        message: instance.ready ? `ready on port ${instance.port}` : `not ready: ${instanceReason(instance)}`,
        data,
      });
    } else {
      journal.record({ type: 'instance.status', target, level: 'info', message: `${old.status} -> ${instance.status}`, data });
    }
  }
  recordVerdicts(journal, 'machine', now.health.verdicts, before.health.verdicts);
  if (now.health.status !== before.health.status) {
    journal.record({
      type: 'machine.status',
      target: 'machine',
      level: 'info',
      message: `${before.health.status} -> ${now.health.status} (${now.health.capacity} ready)`,
      data: { capacity: now.health.capacity },
    });
  }
}

/** Faults that appeared and faults that are gone, each kind once for each target. */
function recordVerdicts(journal: Journal, target: string, now: readonly Verdict[], before: readonly Verdict[]): void {
  const lacks = (list: readonly Verdict[], { fault }: Verdict): boolean => list.every((other) => other.fault !== fault);
  for (const verdict of now.filter((fresh, index) => lacks(before, fresh) && lacks(now.slice(0, index), fresh))) {
    const { fault, reason, evidence, since, remedy, dueAt, next } = verdict;
    journal.record({
      type: 'fault.seen',
      target,
      level: 'warn',
      message: `${reason}; ${next}`,
      data: { fault, evidence, since, remedy, dueAt },
    });
  }
  for (const verdict of before.filter((old, index) => lacks(now, old) && lacks(before.slice(0, index), old)))
    journal.record({
      type: 'fault.gone',
      target,
      level: 'info',
      message: `no longer: ${verdict.reason}`,
      data: { fault: verdict.fault, since: verdict.since },
    });
}
