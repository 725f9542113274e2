import type { Gpu } from '../../../domain/cards/gpu.ts';
import type { Verdict } from '../../../domain/faults/verdict.ts';
import { needsRecovery } from '../../cards/xid.ts';
import { type CardVerdictFacts, cardName, cardVerdict } from './input.ts';

/** Memory errors, heat and power, by the sensors of the card. */
export function cardSensors(facts: CardVerdictFacts): readonly Verdict[] {
  const gpu = facts.card?.gpu.known === true ? facts.card.gpu.value : null;
  if (facts.card === null || gpu === null || gpu.state !== 'ok') return [];
  return [...memory(facts, gpu), ...heat(facts, gpu), ...power(facts, gpu)];
}

/**
 * Cards from Ampere on replace bad rows and contain what one process met: they go on serving, and a reset when convenient is
 * enough, unless no spare row is left. Older cards retire a page only when the driver is loaded anew; until then any job may
 * meet it again. NVIDIA, "GPU Memory Error Management" and "Dynamic Page Retirement".
 */
function memory(facts: CardVerdictFacts, gpu: Gpu): readonly Verdict[] {
  const { uncorrectedVolatile, uncorrectedAggregate, retirementPending, remapPending, remapFailed } = gpu.ecc;
  const count = uncorrectedVolatile ?? 0;
  // Told by card-recovery, with what is needed.
  if (needsRecovery(gpu.recoveryAction)) return [];
  const since = facts.card?.since.ecc ?? facts.now;
  const evidence = [
    `uncorrected since the driver was loaded: ${uncorrectedVolatile ?? 'not told'}; in the life of the card: ${uncorrectedAggregate ?? 'not told'}`,
    ...(retirementPending === null ? [] : [`pages waiting to be retired: ${retirementPending ? 'yes' : 'no'}`]),
    ...(remapPending === null ? [] : [`rows waiting to be remapped: ${remapPending ? 'yes' : 'no'}`]),
    ...(remapFailed === null ? [] : [`remapping failed: ${remapFailed ? 'yes' : 'no'}`]),
  ];
  const remaps = remapPending !== null || remapFailed !== null;
  const isSafe = gpu.recoveryAction !== null || remaps;
  if (remapFailed === true || (count > 0 && !isSafe)) {
    return [
      cardVerdict('ecc', since, {
        reason:
          remapFailed === true
            ? `${cardName(facts)} has bad memory and no spare rows left to replace it`
            : `${cardName(facts)} had ${count} memory error${count === 1 ? '' : 's'} that could not be corrected; the bad page is in use until the driver is loaded anew`,
        evidence,
        blocksReady: true,
        remedy: 'quarantine',
        next:
          remapFailed === true
            ? 'have the card tested and exchanged; the others go on'
            : `reset the card (\`nvidia-smi -r -i ${facts.card?.uuid ?? ''}\`) or reboot; the others go on, and a canary releases the instance afterwards`,
      }),
    ];
  }
  if (count === 0 && retirementPending !== true && remapPending !== true) return [];
  return [
    cardVerdict('ecc', since, {
      reason:
        retirementPending === true || remapPending === true
          ? `bad memory of ${cardName(facts)} is replaced at its next reset`
          : `${cardName(facts)} had ${count} memory error${count === 1 ? '' : 's'} that could not be corrected`,
      evidence,
      blocksReady: false,
      remedy: 'none',
      next: 'jobs go on safely; reset the card when convenient',
    }),
  ];
}

/** A hot card is slow and right: the instance goes on. */
function heat(facts: CardVerdictFacts, gpu: Gpu): readonly Verdict[] {
  const { hardwareThermal, softwareThermal } = gpu.throttle;
  if (hardwareThermal !== true && softwareThermal !== true) return [];
  return [
    cardVerdict('card-hot', facts.card?.since.hot ?? facts.now, {
      reason: `${cardName(facts)} is too hot${gpu.temperatureC === null ? '' : ` (${gpu.temperatureC} °C)`} and slows itself down${hardwareThermal === true ? ' to half its clocks or less' : ''}`,
      evidence: [
        `hardware thermal slowdown: ${hardwareThermal === true ? 'active' : 'not active'}; software thermal slowdown: ${softwareThermal === true ? 'active' : 'not active'}`,
        `temperature: ${gpu.temperatureC ?? 'not told'} °C, power: ${gpu.powerDrawWatts ?? 'not told'} W, state ${gpu.performanceState ?? 'not told'}`,
      ],
      blocksReady: false,
      remedy: 'none',
      next: 'jobs go on, slower; look at fans and air flow, or lower the power limit (`nvidia-smi -pl`)',
    }),
  ];
}

/** The power limit of the card is no fault: that is where a busy card is. The brake of the supply is. */
function power(facts: CardVerdictFacts, gpu: Gpu): readonly Verdict[] {
  if (gpu.throttle.powerBrake !== true) return [];
  return [
    cardVerdict('card-power', facts.card?.since['power-brake'] ?? facts.now, {
      reason: `${cardName(facts)} is slowed down to half its clocks or less: the power supply has pulled the brake`,
      evidence: [
        'hardware power brake slowdown: active',
        `power: ${gpu.powerDrawWatts ?? 'not told'} W of ${gpu.powerLimitWatts ?? 'not told'} W`,
      ],
      blocksReady: false,
      remedy: 'none',
      next: 'jobs go on, slower; look at power supply and cables',
    }),
  ];
}
