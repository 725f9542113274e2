import type { ProbeResult } from '../../domain/health/health.ts';
import { instanceTarget } from '../../domain/identity.ts';
import { recordResult } from '../../plan/health/assess.ts';
import type { ProbeTarget } from '../../probes/probe.ts';
import type { Journal } from '../journal.ts';
import type { Knowledge } from '../knowledge.ts';

const PASSED_EVENT = 'canary.passed';

/** Writes down that a process has been proved, once, for the agents after this one. */
export function recordProof(journal: Journal, target: ProbeTarget, result: ProbeResult, before: ProbeResult | undefined): void {
  if (result.outcome !== 'pass' || (before?.outcome === 'pass' && before.incarnation === result.incarnation)) return;
  journal.record({
    type: PASSED_EVENT,
    target: instanceTarget(target.gpu),
    level: 'info',
    message: 'its canary passed',
    data: { name: target.name, incarnation: target.incarnation, canaryMs: result.facts?.['canaryMs'] ?? null },
  });
}

/**
 * Processes that an earlier agent has proved are ready at once, also while they are busy, and keep the cached models of their
 * users. What has gone wrong meanwhile is told by the other probes.
 */
export function recallProofs(journal: Journal, knowledge: Knowledge): void {
  for (const event of journal.newest(2_000).toSorted((a, b) => a.id - b.id)) {
    const { name, incarnation, canaryMs } = event.data;
    if (event.type !== PASSED_EVENT || typeof name !== 'string' || typeof incarnation !== 'string') continue;
    const result: ProbeResult = {
      probe: 'canary',
      layer: 'functional',
      incarnation,
      outcome: 'pass',
      reason: null,
      at: Date.parse(event.at),
      durationMs: 0,
      facts: { canaryMs },
    };
    knowledge.instances.named(name)?.probes.set('canary', recordResult(undefined, result));
  }
}
