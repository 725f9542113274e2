import type { Verdict } from '../../domain/faults/verdict.ts';
import { toTime } from '../../domain/observed.ts';
import { trialDueAt } from '../instances/quarantine.ts';
import { describeExits, judgeRestarts, restartPolicy } from '../instances/restart-policy.ts';
import type { VerdictFacts } from './facts.ts';

const EVIDENCE = 10;

/** It ends again and again: first the pauses between its starts grow, then it is quarantined, and tried again after a cool-down. */
export function crashLoop({ config, exits, instance, now }: VerdictFacts): readonly Verdict[] {
  const policy = restartPolicy(config);
  const restarts = judgeRestarts(exits, policy, now);
  const evidence = exits
    .filter((exit) => !exit.wanted && exit.at > 0)
    .slice(-EVIDENCE)
    .map((exit) => `${toTime(exit.at)}: ${exit.reason}`);
  const common = { fault: 'crash-loop', evidence, blocksReady: true, dueAt: null } as const;
  const { quarantine, quarantined } = instance;
  if (quarantined !== null) {
    // A card that is quarantined tells its own fault.
    if (quarantine !== null && quarantine.fault !== 'crash-loop') return [];
    const dueAt = trialDueAt(quarantine, config.health.quarantine);
    const next =
      quarantine?.trialAt !== null && quarantine !== null
        ? 'it is being tried: a canary that passes sets it free'
        : dueAt === null
          ? `\`agent unquarantine ${instance.gpu}\` starts it again`
          : `it is tried again at ${toTime(dueAt)}; \`agent unquarantine ${instance.gpu}\` does it at once`;
    const since = quarantine?.at ?? restarts.since ?? now;
    return [{ ...common, reason: `quarantined: ${quarantined}`, since: toTime(since), remedy: 'none', next }];
  }
  const reason = describeExits(restarts.inWindow, policy.windowMs, restarts.lastReason);
  const since = toTime(restarts.since ?? now);
  if (restarts.quarantine !== null)
    return [{ ...common, reason, since, remedy: 'quarantine', next: 'it is quarantined now; the others serve on' }];
  if (restarts.backOffUntil === null) return [];
  const left = policy.maxInWindow - restarts.inWindow + 1;
  const next = `it is started again at ${toTime(restarts.backOffUntil)}; ${left} more end${left === 1 ? '' : 's'} quarantine it`;
  return [{ ...common, reason, since, remedy: 'none', next }];
}
