import type { XidEvent } from '../../domain/cards/xid.ts';
import { movedResult } from '../../domain/health/probe-times.ts';
import { known } from '../../domain/observed.ts';
import type { InstanceIntent, Intents } from '../../domain/state/state.ts';
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

  for (const [name, exits] of knowledge.exits)
    knowledge.exits.set(
      name,
      exits.map((exit) => ({ ...exit, at: moved(exit.at) })),
    );
  for (const records of knowledge.probes.values())
    for (const [probe, record] of records)
      records.set(probe, { ...record, since: moved(record.since), latest: movedResult(record.latest, byMs) });
  for (const [gpu, since] of knowledge.freedFor) knowledge.freedFor.set(gpu, movedTime(since));
  for (const [name, at] of knowledge.logMovedAt) knowledge.logMovedAt.set(name, moved(at));
  for (const [gpu, at] of knowledge.leavingSince) knowledge.leavingSince.set(gpu, moved(at));
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
  for (const [gpu, watch] of knowledge.watches)
    knowledge.watches.set(gpu, {
      ...watch,
      since: moved(watch.since),
      progressAt: moved(watch.progressAt),
      brokenSince: movedOrNull(watch.brokenSince),
    });
  for (const [gpu, facts] of knowledge.resources)
    knowledge.resources.set(gpu, {
      memory: facts.memory === null ? null : { ...facts.memory, overSince: movedOrNull(facts.memory.overSince) },
      log: facts.log === null ? null : { ...facts.log, floodingSince: movedOrNull(facts.log.floodingSince) },
    });
  const { machineResources: machine } = knowledge;
  knowledge.machineResources = {
    ...machine,
    disks: machine.disks.map((disk) => ({ ...disk, lowSince: movedOrNull(disk.lowSince) })),
    memoryLowSince: movedOrNull(machine.memoryLowSince),
    clockJumps: machine.clockJumps.map((jump) => ({ ...jump, at: moved(jump.at) })),
  };
  shiftOwnership(knowledge, moved);
  shiftCards(knowledge, moved, movedOrNull);
  knowledge.modelsCheckedAt = movedOrNull(knowledge.modelsCheckedAt);
  if (knowledge.failedInstallation !== null)
    knowledge.failedInstallation = { ...knowledge.failedInstallation, at: moved(knowledge.failedInstallation.at) };
  knowledge.holds = knowledge.holds.map((hold) => ({ ...hold, since: movedTime(hold.since) }));
}

/** Ends, their memory cgroups, and what nobody hosts. */
function shiftOwnership(knowledge: Knowledge, moved: (at: number) => number): void {
  for (const [name, exit] of knowledge.lastExits) knowledge.lastExits.set(name, { ...exit, at: moved(exit.at) });
  for (const [name, watch] of knowledge.memory)
    knowledge.memory.set(name, { ...watch, samples: watch.samples.map((sample) => ({ ...sample, at: moved(sample.at) })) });
  knowledge.leftovers = new Map(
    [...knowledge.leftovers].map(([gpu, left]) => [
      gpu,
      { ...left, since: moved(left.since), silentSince: left.silentSince === null ? null : moved(left.silentSince) },
    ]),
  );
  knowledge.strangers = new Map([...knowledge.strangers].map(([gpu, stranger]) => [gpu, { ...stranger, since: moved(stranger.since) }]));
  knowledge.leftoversAt = moved(knowledge.leftoversAt);
  knowledge.pm2 = { ...knowledge.pm2, since: moved(knowledge.pm2.since) };
}

function shiftCards(knowledge: Knowledge, moved: (at: number) => number, movedOrNull: (at: number | null) => number | null): void {
  const xids = (events: readonly XidEvent[]) => events.map((event) => ({ ...event, at: moved(event.at) }));
  knowledge.gpusAskedAt = moved(knowledge.gpusAskedAt);
  knowledge.driverGoneSince = movedOrNull(knowledge.driverGoneSince);
  for (const [bus, events] of knowledge.xids) knowledge.xids.set(bus, xids(events));
  for (const [gpu, at] of knowledge.freedAt) knowledge.freedAt.set(gpu, moved(at));
  for (const [gpu, facts] of knowledge.cardFacts) {
    const { process } = facts;
    knowledge.cardFacts.set(gpu, {
      ...facts,
      askedAt: moved(facts.askedAt),
      xids: xids(facts.xids),
      process: process.known && process.value !== null ? known({ ...process.value, startedAt: moved(process.value.startedAt) }) : process,
      freedAt: movedOrNull(facts.freedAt),
      since: Object.fromEntries(Object.entries(facts.since).map(([condition, at]) => [condition, moved(at)])),
    });
  }
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
