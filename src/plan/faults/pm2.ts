import type { Verdict } from '../../domain/faults/verdict.ts';
import { toTime } from '../../domain/observed.ts';
import { pm2Holds } from '../instances/pm2-holds.ts';
import type { MachineVerdictFacts } from './facts.ts';

/** PM2's daemon is not there, or answers nothing. What it hosts serves on, and health tells what is seen of it without PM2. */
export function pm2Daemon({ config, pm2 }: MachineVerdictFacts): readonly Verdict[] {
  return pm2Holds(pm2, config.pm2).map(({ reason, help }) => ({
    fault: pm2.state === 'deaf' ? 'pm2-deaf' : 'pm2-gone',
    reason,
    evidence: pm2.reason === null ? [] : [pm2.reason],
    since: toTime(pm2.since),
    blocksReady: false,
    remedy: 'none',
    dueAt: null,
    next: help,
  }));
}
