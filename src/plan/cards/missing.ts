import type { Gpu, WaitingGpu } from '../../domain/cards/gpu.ts';
import { instanceTarget } from '../../domain/identity.ts';
import type { DesiredInstance } from '../../domain/instances/instance.ts';
import type { DesiredState } from '../../domain/state/state.ts';
import { hold, type NewHold } from '../hold.ts';

type MissingCard = DesiredState['missing'][number];

/** How an operator says that the cards that are there are all there will be. */
export const ACCEPT_HELP = 'put the card back, or make the present cards the right ones with `agent gpus accept`';

/** The driver told of it, to this agent, and tells of it still. */
export const isThere = ({ state }: Gpu): boolean => state !== 'missing' && state !== 'unread';

/** A card that has a slot and is not there, for people. */
export function missingWords({ gpu, uuid, name, pciBusId, replacedBy, words }: MissingCard): string {
  const where = pciBusId === null ? '' : ` at ${pciBusId}`;
  const said = words === null ? '' : ` (nvidia-smi: ${words})`;
  return replacedBy === null
    ? `slot ${gpu}: its card ${uuid} (${name}${where}) is missing${said}; \`agent gpus accept\` forgets it`
    : `a card was replaced: slot ${gpu} was ${uuid}${where}, now ${replacedBy}; \`agent gpus accept\` gives it the slot`;
}

export const waitingWords = ({ slot, formerly }: WaitingGpu): string =>
  `new, and has no slot yet: slot ${slot} is that of ${formerly}, which is missing; \`agent gpus accept\` gives it the slot`;

/** No process is started for a card that is not there: it would end at once, or take another card. */
export function missingHold(missing: DesiredState['missing'], instance: DesiredInstance): NewHold | null {
  const card = missing.find(({ gpu, uuid }) => gpu === instance.gpu && uuid === instance.uuid);
  return card === undefined ? null : hold(instanceTarget(instance.gpu), 'GPU_MISSING', missingWords(card), ACCEPT_HELP);
}
