import { type GpuReading, unknownUnreachable } from '../../domain/cards/gpu.ts';
import type { Observed } from '../../domain/observed.ts';

/** What nvidia-smi said beside its rows, and cards that it cannot reach: told where they belong, and never a reason to act. */
export interface CardRemarks {
  readonly machine: readonly string[];
  /** By UUID. */
  readonly cards: ReadonlyMap<string, readonly string[]>;
}

/** @param cards all cards that have a slot: of theirs that cannot be reached their instances tell */
export function cardRemarks(gpus: Observed<GpuReading>, cards: Observed<GpuReading>): CardRemarks {
  if (!gpus.known) return { machine: [], cards: new Map() };
  const { remarks = [], unreachable = [] } = gpus.value;
  const known = cards.known ? cards.value.gpus : [];
  const said = (words: string): string => `nvidia-smi: ${words}`;
  const strangers = unknownUnreachable(unreachable, known);
  const ofCards = Map.groupBy(
    remarks.filter(({ uuid }) => uuid !== null && known.some((card) => card.uuid === uuid)),
    ({ uuid }) => uuid ?? '',
  );
  const machine = remarks.filter(({ uuid }) => uuid === null || !ofCards.has(uuid));
  return {
    machine: [
      ...new Set([
        ...machine.map(({ words }) => said(words)),
        ...strangers.map(({ words }) => `a card is not used, because the driver cannot reach it: ${words}`),
      ]),
    ],
    cards: new Map([...ofCards].map(([uuid, lines]) => [uuid, [...new Set(lines.map(({ words }) => said(words)))]])),
  };
}
