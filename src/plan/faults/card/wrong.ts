import type { Verdict } from '../../../domain/faults/verdict.ts';
import { type CardVerdictFacts, cardName, cardVerdict } from './input.ts';

const CHOOSES_ITSELF =
  'something in it chooses the card itself: look for --cuda-device in comfyui.arguments (COMFY_ARGS) and for a node pack that sets CUDA_VISIBLE_DEVICES';

/** Restarts that are tried: what sets the variable wrongly may do so again. */
const WRONG_STARTS = 2;

/** The instance was started on another card than its own, or computes on one. */
export function cardWrong(facts: CardVerdictFacts): readonly Verdict[] {
  const { card, instance, now } = facts;
  const process = card?.process.known === true ? card.process.value : null;
  if (card === null || process === null) return [];
  const seen = process.visibleDevices;
  if (seen !== null && seen !== instance.visibleDevices && process.isCurrent) {
    const again = process.wrongStarts > WRONG_STARTS;
    return [
      cardVerdict('wrong-card', process.startedAt, {
        reason: `pid ${process.pid} sees ${seen === '' ? 'no card' : `card ${seen}`} and not ${instance.visibleDevices}, its own`,
        evidence: [`CUDA_VISIBLE_DEVICES=${seen} in the environment of pid ${process.pid}`],
        blocksReady: true,
        remedy: again ? 'quarantine' : 'restart',
        next: again
          ? `${process.wrongStarts} starts in a row saw another card: look at pm2.template, which may set CUDA_VISIBLE_DEVICES`
          : 'the instance is restarted with its own card',
      }),
    ];
  }
  if (process.deviceName !== null && process.otherNames.includes(process.deviceName)) {
    return [
      cardVerdict('wrong-card', process.startedAt, {
        reason: `pid ${process.pid} of ${cardName(facts)} runs on another card: it names ${process.deviceName}`,
        evidence: [`/system_stats: ${process.deviceName}`],
        blocksReady: true,
        remedy: 'quarantine',
        next: CHOOSES_ITSELF,
      }),
    ];
  }
  const strange = process.computesOn.filter((uuid) => uuid !== card.uuid);
  if (strange.length === 0 || !card.gpu.known || card.gpu.value === null) return [];
  return [
    cardVerdict('wrong-card', Math.min(card.askedAt, now), {
      reason: `pid ${process.pid} of ${cardName(facts)} computes on another card: ${strange.join(', ')}`,
      evidence: [`nvidia-smi lists processes of the instance on ${process.computesOn.join(', ')}`],
      blocksReady: true,
      // Its environment is right: a restart would do the same again.
      remedy: 'quarantine',
      next: CHOOSES_ITSELF,
    }),
  ];
}
