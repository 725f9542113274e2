import type { GpusDocument } from '../../domain/agent.ts';
import type { Gpu } from '../../domain/cards/gpu.ts';
import { foreignProcesses } from '../../plan/cards/guard.ts';
import { unusedParts } from '../../plan/cards/mig.ts';
import { missingWords, waitingWords } from '../../plan/cards/missing.ts';
import { cardRemarks } from '../../plan/cards/remarks.ts';
import type { Knowledge } from '../knowledge.ts';

/** Those that are missing or wait for a slot among them, while the driver lists others. */
export const cardsOf = ({ gpus, cards }: Knowledge): readonly Gpu[] => {
  if (!gpus.known) return [];
  if (!cards.known || gpus.value.gpus.length === 0) return gpus.value.gpus;
  return [...cards.value.gpus, ...(cards.value.waiting ?? []).map(({ gpu }) => gpu)];
};

export function gpusOf(knowledge: Knowledge): GpusDocument {
  const { gpus, desired, observed, configuration } = knowledge;
  if (!gpus.known) return { present: null, reason: gpus.reason, gpus: [] };
  const foreign = foreignProcesses({ ...configuration.config.gpu, foreignMemoryMb: 0 }, gpus, observed?.ownPids ?? new Set());
  return {
    present: gpus.value.present,
    reason: gpus.value.present ? null : 'this machine has no NVIDIA driver',
    gpus: withUnusedParts(knowledge, cardsOf(knowledge)).map((gpu) => {
      const stranger = foreign.find((candidate) => candidate.gpu === gpu.index);
      return {
        ...gpu,
        instance: desired?.instances.find((instance) => instance.uuid === gpu.uuid)?.name ?? null,
        owner: stranger === undefined ? null : `pid ${stranger.process.pid} (${stranger.process.name})`,
        note: noteOf(knowledge, gpu),
      };
    }),
  };
}

/** MIG devices that no instance uses stand below their card, under its number. */
function withUnusedParts({ configuration, desired }: Knowledge, gpus: readonly Gpu[]): readonly Gpu[] {
  if (configuration.config.gpu.mig === 'all') return gpus;
  return gpus.flatMap((gpu) => [
    gpu,
    ...unusedParts(gpu, desired?.instances.find(({ uuid }) => uuid === gpu.uuid)?.visibleDevices ?? null),
  ]);
}

/** Why it has no instance, or is not as it was. */
function noteOf({ gpus, cards, desired, configuration }: Knowledge, { uuid, partOf }: Gpu): string | null {
  if (partOf !== null && configuration.config.gpu.mig === 'first') return 'not used: gpu.mig is first, and all gives each an instance';
  const missing = desired?.missing.find((card) => card.uuid === uuid);
  if (missing !== undefined) return missingWords(missing);
  const waiting = cards.known ? cards.value.waiting?.find(({ gpu }) => gpu.uuid === uuid) : undefined;
  if (waiting !== undefined) return waitingWords(waiting);
  const unused = desired?.unused.find((card) => card.uuid === uuid);
  const said = [...(unused === undefined ? [] : [unused.reason]), ...(cardRemarks(gpus, cards).cards.get(uuid) ?? [])];
  return said.length === 0 ? null : said.join('; ');
}
