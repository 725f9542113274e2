import type { CardFacts } from '../../domain/cards/card.ts';
import type { XidEvent } from '../../domain/cards/xid.ts';
import { movedResult } from '../../domain/health/probe-times.ts';
import { known } from '../../domain/observed.ts';
import type { InstanceIntent, Intents } from '../../domain/state/state.ts';
import type { InstanceRecord } from '../instance-records.ts';
import type { Journal } from '../journal.ts';
import type { Knowledge } from '../knowledge.ts';
import type { StateStore } from './store.ts';

/** More jumps than are ever told at once. */
const KEPT_JUMPS = 5;

/** Moves what is known, writes down what was asked for at a moment, and tells of the jump. */
export function noteClockJump(
  { knowledge, state, journal }: { readonly knowledge: Knowledge; readonly state: Pick<StateStore, 'note'>; readonly journal: Journal },
  byMs: number,
  now: number,
): void {
  shiftKnowledge(knowledge, byMs);
  knowledge.clockShiftMs += byMs;
  const { machineResources } = knowledge;
  knowledge.machineResources = { ...machineResources, clockJumps: [...machineResources.clockJumps, { at: now, byMs }].slice(-KEPT_JUMPS) };
  // Also where nothing is named yet: a wish that is being written is made anew, by the new clock.
  void state.note('when things were asked for, by the new clock', (intents) => shiftIntents(intents, byMs));
  journal.record({
    type: 'clock.jump',
    target: 'machine',
    level: 'warn',
    message: `the wall clock jumped by ${Math.round(byMs / 1_000)} s (or the machine slept); durations are measured without it`,
    data: { byMs },
  });
}

/**
 * The wall clock jumped: what was noted by the old one is moved, so that it is as long ago as it really is. Nothing else has to
 * know of jumps: windows, deadlines and `since` go on as they were.
 */
function shiftKnowledge(knowledge: Knowledge, byMs: number): void {
  const moved = (at: number): number => (at === 0 ? 0 : at + byMs);
  const movedOrNull = (at: number | null): number | null => (at === null ? null : moved(at));
  const movedTime = (time: string): string => new Date(Date.parse(time) + byMs).toISOString();

  for (const [, record] of knowledge.instances) shiftInstance(record, byMs);
  knowledge.leaving = new Map(
    [...knowledge.leaving].map(([gpu, leaving]) => [
      gpu,
      { ...leaving, since: movedOrNull(leaving.since), until: movedOrNull(leaving.until) },
    ]),
  );
  knowledge.unwanted = new Map(
    [...knowledge.unwanted].map(([name, found]) => [
      name,
      { ...found, since: moved(found.since), cardsAskedAt: moved(found.cardsAskedAt) },
    ]),
  );
  const { machineResources: machine } = knowledge;
  knowledge.machineResources = {
    ...machine,
    disks: machine.disks.map((disk) => ({ ...disk, lowSince: movedOrNull(disk.lowSince) })),
    memoryLowSince: movedOrNull(machine.memoryLowSince),
    clockJumps: machine.clockJumps.map((jump) => ({ ...jump, at: moved(jump.at) })),
  };
  knowledge.leftoversAt = moved(knowledge.leftoversAt);
  knowledge.pm2 = { ...knowledge.pm2, since: moved(knowledge.pm2.since) };
  knowledge.gpusAskedAt = moved(knowledge.gpusAskedAt);
  knowledge.driverGoneSince = movedOrNull(knowledge.driverGoneSince);
  for (const [bus, events] of knowledge.xids) knowledge.xids.set(bus, shiftedXids(events, moved));
  knowledge.modelsCheckedAt = movedOrNull(knowledge.modelsCheckedAt);
  if (knowledge.failedInstallation !== null)
    knowledge.failedInstallation = { ...knowledge.failedInstallation, at: moved(knowledge.failedInstallation.at) };
  knowledge.holds = knowledge.holds.map((hold) => ({ ...hold, since: movedTime(hold.since) }));
}

/** Times of one instance. What its own log's filesystem says is only ever compared with itself. */
function shiftInstance(record: InstanceRecord, byMs: number): void {
  const moved = (at: number): number => (at === 0 ? 0 : at + byMs);
  const movedOrNull = (at: number | null): number | null => (at === null ? null : moved(at));
  record.exits = record.exits.map((exit) => ({ ...exit, at: moved(exit.at) }));
  for (const [probe, { since, latest, ...rest }] of record.probes)
    record.probes.set(probe, { ...rest, since: moved(since), latest: movedResult(latest, byMs) });
  record.leavingSince = movedOrNull(record.leavingSince);
  const { lastExit, memory, log, resources, card, freed, leftover, stranger, watch } = record;
  if (lastExit !== null) record.lastExit = { ...lastExit, at: moved(lastExit.at) };
  if (memory !== null) record.memory = { ...memory, samples: memory.samples.map((sample) => ({ ...sample, at: moved(sample.at) })) };
  if (log !== null) record.log = { ...log, movedAt: moved(log.movedAt) };
  if (resources !== null)
    record.resources = {
      memory: resources.memory === null ? null : { ...resources.memory, overSince: movedOrNull(resources.memory.overSince) },
      log: resources.log === null ? null : { ...resources.log, floodingSince: movedOrNull(resources.log.floodingSince) },
    };
  if (card !== null) record.card = shiftedCard(card, moved);
  if (freed !== null) record.freed = { verdictSince: new Date(Date.parse(freed.verdictSince) + byMs).toISOString(), at: moved(freed.at) };
  if (leftover !== null) record.leftover = { ...leftover, since: moved(leftover.since), silentSince: movedOrNull(leftover.silentSince) };
  if (stranger !== null) record.stranger = { ...stranger, since: moved(stranger.since) };
  if (watch !== null)
    record.watch = {
      ...watch,
      since: moved(watch.since),
      progressAt: moved(watch.progressAt),
      brokenSince: movedOrNull(watch.brokenSince),
    };
}

const shiftedXids = (events: readonly XidEvent[], moved: (at: number) => number): readonly XidEvent[] =>
  events.map((event) => ({ ...event, at: moved(event.at) }));

function shiftedCard(card: CardFacts, moved: (at: number) => number): CardFacts {
  const { process } = card;
  return {
    ...card,
    askedAt: moved(card.askedAt),
    xids: shiftedXids(card.xids, moved),
    process: process.known && process.value !== null ? known({ ...process.value, startedAt: moved(process.value.startedAt) }) : process,
    freedAt: card.freedAt === null ? null : moved(card.freedAt),
    since: Object.fromEntries(Object.entries(card.since).map(([condition, at]) => [condition, moved(at)])),
  };
}

function shiftIntents(intents: Intents, byMs: number): Intents {
  const moved = (at: number): number => (at === 0 ? 0 : at + byMs);
  const movedOrNull = (at: number | null): number | null => (at === null ? null : moved(at));
  const shifted = ({ quarantine, ...intent }: InstanceIntent): InstanceIntent => ({
    ...intent,
    restartRequestedAt: movedOrNull(intent.restartRequestedAt),
    quarantine:
      quarantine === null
        ? null
        : {
            ...quarantine,
            at: moved(quarantine.at),
            trialAt: movedOrNull(quarantine.trialAt),
            releasedAt: movedOrNull(quarantine.releasedAt),
          },
  });
  return {
    ...intents,
    instances: Object.fromEntries(Object.entries(intents.instances).map(([gpu, intent]) => [gpu, shifted(intent)])),
    installation: intents.installation === null ? null : { ...intents.installation, requestedAt: moved(intents.installation.requestedAt) },
    rollout: intents.rollout === null ? null : { ...intents.rollout, startedAt: moved(intents.rollout.startedAt) },
  };
}
