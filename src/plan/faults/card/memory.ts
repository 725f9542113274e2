import type { Verdict } from '../../../domain/faults/verdict.ts';
import { ownMemory } from '../../cards/conditions.ts';
import { type CardVerdictFacts, cardName, cardVerdict, twoReadings } from './input.ts';

const MEBIBYTE = 1024 * 1024;

/**
 * Memory that was not given back. ComfyUI keeps models between jobs by design, so a full card says nothing by itself: judged
 * are what stays after `/free` with nothing to do, and what stays after the process has ended.
 */
export function cardMemoryKept(facts: CardVerdictFacts): readonly Verdict[] {
  const { card, now } = facts;
  const gpu = card?.gpu.known === true ? card.gpu.value : null;
  if (card === null || gpu === null) return [];
  const ended = card.since['kept-after-end'];
  if (ended !== undefined && now >= ended + twoReadings(facts)) {
    return [
      cardVerdict('card-memory-kept', ended, {
        reason: `${Math.round((gpu.memoryUsedBytes ?? 0) / MEBIBYTE)} MiB of ${cardName(facts)} are in use although its process has ended and the driver lists no other`,
        evidence: [`limit gpu.keptMemoryMb: ${facts.config.gpu.keptMemoryMb}`],
        blocksReady: false,
        remedy: 'none',
        next: 'look for who holds the card with `fuser -v /dev/nvidia*`; what nobody holds is freed by a reset of the card',
      }),
    ];
  }
  const freed = card.since['kept-after-free'];
  const process = card.process.known ? card.process.value : null;
  const idle = facts.queue !== null && facts.queue.running + facts.queue.pending === 0;
  if (freed === undefined || process === null || !idle || now < freed + twoReadings(facts)) return [];
  return [
    cardVerdict('card-memory-kept', freed, {
      reason: `pid ${process.pid} still holds ${Math.round(ownMemory(gpu, process.pids) / MEBIBYTE)} MiB of ${cardName(facts)} after it was asked to free its memory, with nothing to do`,
      evidence: [`limit gpu.keptMemoryMb: ${facts.config.gpu.keptMemoryMb}`],
      blocksReady: false,
      remedy: 'restart-when-idle',
      next: 'the instance is restarted when it has no job',
    }),
  ];
}
