import type { Verdict } from '../../domain/faults/verdict.ts';
import { toTime } from '../../domain/observed.ts';
import { portHoldReason } from '../instances/leases.ts';
import type { VerdictFacts } from './facts.ts';

/** A stranger has the port of an instance that is to be started; the hold PORT_HELD says so in the same words. */
export function portTaken({ config, owner }: VerdictFacts): readonly Verdict[] {
  const { stranger } = owner;
  if (stranger === null) return [];
  const { tcpPort, pid, command } = stranger.holder;
  return [
    {
      fault: 'port-taken',
      reason: portHoldReason(tcpPort, stranger.holder),
      evidence: [`pid ${pid ?? 'unknown'}: ${command ?? 'unknown command'}`],
      since: toTime(stranger.since),
      blocksReady: true,
      remedy: 'none',
      dueAt: null,
      next:
        config.ports.onConflict === 'next'
          ? 'the instance takes the next free port; the other process is left alone'
          : 'the instance is started once the port is free; the other process is left alone',
    },
  ];
}
