import type { CardFacts, CardProcess } from '../../domain/cards/card.ts';
import { type Gpu, unreachableWords } from '../../domain/cards/gpu.ts';
import type { Finding } from '../../domain/doctor/doctor.ts';
import { known, unknown } from '../../domain/observed.ts';
import { cardConditions } from '../cards/conditions.ts';
import { ACCEPT_HELP, missingWords } from '../cards/missing.ts';
import { cardFaults, cardTroubles } from '../faults/card/card.ts';
import { chooseCards, visibleDevices } from '../resolve.ts';
import type { DoctorFacts } from './facts.ts';
import { cannotTell, fail, ok, warn } from './finding.ts';

/** Faults of cards that one look finds, with or without an agent: the same judgement as the agent's own. */
export function checkCardFaults(facts: DoctorFacts): Finding[] {
  const { gpus, config, cards, xids } = facts;
  if (!config.comfyui.enabled || config.gpu.mode !== 'actual' || !gpus.ok || !gpus.value.present) return [];
  const listed = gpus.value.gpus;
  const { missing } = chooseCards(config.gpu, cards);
  const findings = [
    ...listed.flatMap((gpu) => ofCard(facts, gpu.index, gpu, known(gpu))),
    ...missing.map((card) => fail('gpu faults', missingWords(card), ACCEPT_HELP)),
  ];
  const unseen = xids.ok ? [] : [cannotTell('gpu faults', xids.message, xids.help)];
  if (findings.length > 0 || listed.length === 0) return [...findings, ...unseen];
  return [
    ok('gpu faults', `none on ${listed.length} card${listed.length === 1 ? '' : 's'}${xids.ok ? ', none in the kernel log' : ''}`),
    ...unseen,
  ];
}

function ofCard({ config, xids, instanceCards, gpus, now }: DoctorFacts, index: number, card: Gpu, seen: CardFacts['gpu']): Finding[] {
  const own = instanceCards.ok ? instanceCards.value.find(({ gpu }) => gpu === index) : undefined;
  const process: CardProcess | null =
    own === undefined
      ? null
      : {
          incarnation: String(own.pid),
          pid: own.pid,
          startedAt: own.startedAt,
          pids: own.pids,
          visibleDevices: own.visibleDevices,
          isCurrent: true,
          wrongStarts: 1,
          computesOn: gpus.ok
            ? gpus.value.gpus
                .filter((gpu) => gpu.processes.some(({ pid, name }) => name !== null && own.pids.includes(pid)))
                .map(({ uuid }) => uuid)
            : [],
          deviceName: null,
          otherNames: [],
        };
  const base: Omit<CardFacts, 'since'> = {
    uuid: card.uuid,
    pciBusId: card.pciBusId,
    gpu: seen,
    askedAt: now,
    words: gpus.ok ? unreachableWords(gpus.value, card) : null,
    xids: xids.ok ? xids.value.filter(({ pciBusId }) => pciBusId === card.pciBusId) : [],
    process: instanceCards.ok ? known(process) : unknown(instanceCards.message),
    freedAt: null,
  };
  // One look cannot tell how long something stands: what it sees, it tells.
  const since = Object.fromEntries(cardConditions(base, config).map((condition) => [condition, 0]));
  const instance = { gpu: index, visibleDevices: visibleDevices(card, config.gpu.pin) };
  const judged = { config, instance, card: { ...base, since }, queue: null, probes: new Map(), now };
  const verdicts = [...cardFaults(judged), ...cardTroubles(judged)];
  return verdicts.map(({ reason, next, blocksReady, remedy }) =>
    (blocksReady || remedy !== 'none' ? fail : warn)('gpu faults', reason, next),
  );
}
