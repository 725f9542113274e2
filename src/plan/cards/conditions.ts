import type { CardCondition, CardFacts } from '../../domain/cards/card.ts';
import type { Gpu } from '../../domain/cards/gpu.ts';
import type { Config } from '../../domain/configuration/config.ts';
import { needsRecovery } from './xid.ts';

const MEBIBYTE = 1024 * 1024;

/** What stands of a card by its newest reading; nothing while it cannot be read. */
export function cardConditions(card: Omit<CardFacts, 'since'>, config: Config): readonly CardCondition[] {
  if (!card.gpu.known) return [];
  const gpu = card.gpu.value;
  if (gpu === null) return ['gone'];
  const checks: readonly (readonly [CardCondition, boolean])[] = [
    ['unusable', gpu.state !== 'ok' || needsRecovery(gpu.recoveryAction)],
    ['hot', gpu.throttle.hardwareThermal === true || gpu.throttle.softwareThermal === true],
    ['power-brake', gpu.throttle.powerBrake === true],
    ['ecc', hasMemoryErrors(gpu)],
    ['kept-after-end', keptAfterEnd(card, gpu, config)],
    ['kept-after-free', keptAfterFree(card, gpu, config)],
  ];
  return checks.flatMap(([condition, stands]) => (stands ? [condition] : []));
}

const hasMemoryErrors = ({ ecc }: Gpu): boolean =>
  (ecc.uncorrectedVolatile ?? 0) > 0 || ecc.retirementPending === true || ecc.remapPending === true || ecc.remapFailed === true;

/** In use by nobody: our process has ended, and the driver lists no other. Pids of another world count as somebody. */
function keptAfterEnd(card: Omit<CardFacts, 'since'>, gpu: Gpu, config: Config): boolean {
  if (!card.process.known || card.process.value !== null || gpu.processes.length > 0) return false;
  return (gpu.memoryUsedBytes ?? 0) > config.gpu.keptMemoryMb * MEBIBYTE;
}

/** Models stay loaded between jobs by design: only after `/free` is what stays a fault. */
function keptAfterFree(card: Omit<CardFacts, 'since'>, gpu: Gpu, config: Config): boolean {
  const process = card.process.known ? card.process.value : null;
  if (process === null || card.freedAt === null || card.freedAt < process.startedAt || card.askedAt <= card.freedAt) return false;
  return ownMemory(gpu, process.pids) > config.gpu.keptMemoryMb * MEBIBYTE;
}

/** Bytes of the card that these processes hold. */
export const ownMemory = (gpu: Gpu, pids: readonly number[]): number =>
  gpu.processes
    .filter(({ pid, name }) => name !== null && pids.includes(pid))
    .reduce((sum, { memoryBytes }) => sum + (memoryBytes ?? 0), 0);

/** Since when each condition stands: kept while it does, and while nothing can be seen. */
export function datedConditions(
  card: Omit<CardFacts, 'since'>,
  before: CardFacts['since'],
  config: Config,
): Partial<Record<CardCondition, number>> {
  if (!card.gpu.known) return before;
  return Object.fromEntries(cardConditions(card, config).map((condition) => [condition, before[condition] ?? card.askedAt]));
}
