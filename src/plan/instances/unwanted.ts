import type { Action } from '../../domain/action.ts';
import type { Config } from '../../domain/configuration/config.ts';
import { gpuOfInstance, processTarget } from '../../domain/identity.ts';
import type { ProcessState } from '../../domain/instances/instance.ts';
import type { DesiredState, ObservedState } from '../../domain/state/state.ts';
import { hold, type NewHold } from '../hold.ts';
import { idleness, isPresent } from './leaving.ts';

/** A process of ours that no instance asks for, and the wish that says so. */
export interface Unwanted {
  readonly reason: string;
  /** What the reason was read from: what the cards say is believed only of two readings of them. */
  readonly by: 'configuration' | 'cards';
  /** When a look first found it so, and when the cards were asked for that look. Epoch ms. */
  readonly since: number;
  readonly cardsAskedAt: number;
  /** A later look found the same. */
  readonly agreed: boolean;
}

interface Look {
  readonly config: Config;
  readonly desired: DesiredState;
  readonly observed: ObservedState;
}

/**
 * Processes that are not wanted, each by a wish that names it. What no wish speaks of stays: a card that is not read yet, a
 * driver that lists nothing and a card that is listed are no reason.
 * @param before what the look before found
 * @param cardsAskedAt when the cards of this look were read, epoch ms
 */
export function findUnwanted(
  { config, desired, observed }: Look,
  before: ReadonlyMap<string, Unwanted>,
  cardsAskedAt: number,
): ReadonlyMap<string, Unwanted> {
  if (!observed.processes.known) return before;
  const wanted = new Set(desired.instances.map(({ name }) => name));
  const found = observed.processes.value.filter(({ name }) => !wanted.has(name));
  return new Map(
    found.flatMap(({ name }): [string, Unwanted][] => {
      const why = whyUnwanted(gpuOfInstance(name), config, desired, observed);
      if (why === null) return [];
      const old = before.get(name);
      if (old === undefined || old.reason !== why.reason) return [[name, { ...why, since: observed.at, cardsAskedAt, agreed: false }]];
      const agreed = old.agreed || why.by === 'configuration' || cardsAskedAt > old.cardsAskedAt;
      return [[name, { ...old, agreed }]];
    }),
  );
}

function whyUnwanted(
  place: number | null,
  config: Config,
  desired: DesiredState,
  observed: ObservedState,
): Pick<Unwanted, 'reason' | 'by'> | null {
  if (!desired.enabled) return { reason: 'ComfyUI is disabled', by: 'configuration' };
  const { mode } = config.gpu;
  if (mode !== 'actual') {
    const count = desired.instances.length;
    return { reason: `${count} instance${count === 1 ? ' is' : 's are'} asked for (gpu.mode: ${mode})`, by: 'configuration' };
  }
  const unused = desired.unused.find(({ gpu }) => gpu === place);
  if (unused !== undefined) return { reason: unused.reason, by: 'configuration' };
  if (!observed.gpus.known || observed.gpus.value.gpus.length === 0) return null;
  return observed.gpus.value.gpus.some(({ index }) => index === place) ? null : { reason: 'no card has its place', by: 'cards' };
}

/** What is removed now, and what waits: for a second look that finds the same, and for its jobs. */
export function planUnwanted(
  { config, observed }: Look,
  unwanted: ReadonlyMap<string, Unwanted>,
): { readonly actions: readonly Action[]; readonly holds: readonly NewHold[] } {
  const actions: Action[] = [];
  const holds: NewHold[] = [];
  for (const process of observed.processes.known ? observed.processes.value : []) {
    const found = unwanted.get(process.name);
    if (found === undefined || observed.busy.has(processTarget(process.name))) continue;
    const waits = waitsFor(process, found, config, observed);
    if (waits === null) actions.push({ kind: 'remove-process', name: process.name, reason: found.reason });
    else
      holds.push(
        hold(processTarget(process.name), 'DRAINING', `${found.reason}; it is removed ${waits}`, 'nothing to do: it follows by itself'),
      );
  }
  return { actions, holds };
}

function waitsFor(process: ProcessState, found: Unwanted, { health }: Config, observed: ObservedState): string | null {
  const incarnation = observed.incarnations.get(process.name);
  if (!isPresent(process) || (incarnation?.known === true && incarnation.value === null)) return null;
  if (!found.agreed) return 'when a second look finds the same';
  const queue = observed.unwantedQueues.get(process.name) ?? null;
  const jobs = queue?.jobs ?? null;
  if (idleness(queue, found.since) === 'yes') return null;
  // One that does not answer may be in the middle of a job: it is given as long as an instance that hangs.
  const until = found.since + (jobs === null ? health.hangGraceMs : health.drainTimeoutMs);
  if (observed.at >= until) return null;
  return jobs === null || jobs === 0 ? 'once its queue was read' : `after ${jobs} job${jobs === 1 ? '' : 's'}`;
}
