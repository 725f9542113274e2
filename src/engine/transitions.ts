import { instanceReason } from '../plan/summary.ts';
import type { Documents } from './documents.ts';
import type { Journal } from './journal.ts';

/** States that nobody asked for. */
const TROUBLE: ReadonlySet<string> = new Set(['unhealthy', 'unknown', 'quarantined']);

/** Writes down what changed for people: an instance that became ready or not, a machine that changed its state. */
export function recordTransitions(journal: Journal, now: Documents, before: Documents): void {
  for (const instance of now.instances.instances) {
    const old = before.instances.instances.find((candidate) => candidate.gpu === instance.gpu);
    if (old === undefined || (old.status === instance.status && old.ready === instance.ready)) continue;
    const target = `instance ${instance.gpu}`;
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
