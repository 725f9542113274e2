import type { GpuReading } from '../../domain/cards/gpu.ts';
import type { Verdict } from '../../domain/faults/verdict.ts';
import { NOT_LOOKED_YET, type Observed, toTime } from '../../domain/observed.ts';
import type { MachineVerdictFacts } from './facts.ts';

/** Why the driver tells nothing of cards that were there; null: it does, or it was never known. */
export function driverTrouble(gpus: Observed<GpuReading>, cards: Observed<GpuReading>): string | null {
  const before = cards.known ? cards.value.gpus.length : 0;
  if (!gpus.known) return gpus.reason === NOT_LOOKED_YET ? null : gpus.reason;
  if (before === 0 || gpus.value.gpus.length > 0) return null;
  const was = before === 1 ? 'there was one' : `there were ${before}`;
  return gpus.value.present
    ? `the driver lists no card any more; ${was}`
    : `there is no NVIDIA driver any more; ${was} card${before === 1 ? '' : 's'}`;
}

/** The whole machine: nothing is restarted for it, since no new process could use a card either. */
export function driverGone({ gpus, cards, driverGoneSince, now }: MachineVerdictFacts): readonly Verdict[] {
  const reason = driverTrouble(gpus, cards);
  if (reason === null) return [];
  return [
    {
      fault: 'driver-gone',
      reason,
      evidence: [],
      since: toTime(driverGoneSince ?? now),
      blocksReady: false,
      remedy: 'none',
      dueAt: null,
      next: 'running instances are left alone and none is restarted for it; run nvidia-smi by hand and look at `dmesg | grep -i nvrm`',
    },
  ];
}
