import type { RecoveryAction } from '../../../domain/cards/gpu.ts';
import type { Verdict } from '../../../domain/faults/verdict.ts';
import { condemnsCard, needsRecovery } from '../../cards/xid.ts';
import { type CardVerdictFacts, cardName, cardVerdict } from './input.ts';

const words: Readonly<Record<RecoveryAction, string>> = {
  none: 'nothing',
  reset: 'a reset of the card: `nvidia-smi -r -i N` when nothing uses it',
  reboot: 'a reboot of the machine',
  'drain-peers': 'that cards linked to it let go of it',
  'drain-and-reset': 'that nothing uses it and its peers, and a reset: `nvidia-smi -r -i N`',
};

/** The driver itself says that the card is of no use until somebody did something. Its word ends this verdict too. */
export function cardRecovery(facts: CardVerdictFacts): readonly Verdict[] {
  const { card } = facts;
  const gpu = card?.gpu.known === true ? card.gpu.value : null;
  if (card === null || gpu === null || gpu.state === 'lost') return [];
  if (gpu.state !== 'reset-required' && !needsRecovery(gpu.recoveryAction)) return [];
  const needed = words[gpu.state === 'reset-required' ? 'reset' : (gpu.recoveryAction ?? 'reset')];
  const { uncorrectedVolatile, remapFailed } = gpu.ecc;
  const isMemory = (uncorrectedVolatile ?? 0) > 0 || remapFailed === true;
  return [
    cardVerdict(isMemory ? 'ecc' : 'xid', card.since.unusable ?? card.askedAt, {
      reason: `${cardName(facts)} cannot be used: the driver asks for ${needed.split(':')[0]}`,
      evidence: [
        gpu.state === 'reset-required' ? 'nvidia-smi: [GPU requires reset]' : `nvidia-smi: gpu_recovery_action ${gpu.recoveryAction}`,
        ...(uncorrectedVolatile === null ? [] : [`uncorrected memory errors since the driver was loaded: ${uncorrectedVolatile}`]),
        ...card.xids.filter((xid) => condemnsCard(xid, card.xids)).map(({ text }) => text),
      ].slice(0, 50),
      blocksReady: true,
      remedy: 'quarantine',
      next: `needed is ${needed.replace('-i N', `-i ${card.uuid}`)}; the others go on, and the instance is released when the driver asks for nothing more and a canary has passed`,
    }),
  ];
}
