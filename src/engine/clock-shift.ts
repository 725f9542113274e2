import { movedResult } from '../domain/probe-times.ts';
import type { InstanceIntent, Intents } from '../domain/state.ts';
import type { Journal } from './journal.ts';
import type { Knowledge } from './knowledge.ts';
import type { StateFiles } from './state-files.ts';

/** More jumps than are ever told at once. */
const KEPT_JUMPS = 5;

/** Moves what is known, writes down what was asked for at a moment, and tells of the jump. */
export function noteClockJump(
  {
    knowledge,
    state,
    journal,
  }: { readonly knowledge: Knowledge; readonly state: Pick<StateFiles, 'saveIntents'>; readonly journal: Journal },
  byMs: number,
  now: number,
): void {
  shiftKnowledge(knowledge, byMs);
  knowledge.clockShiftMs += byMs;
  const { machineResources } = knowledge;
  knowledge.machineResources = { ...machineResources, clockJumps: [...machineResources.clockJumps, { at: now, byMs }].slice(-KEPT_JUMPS) };
  const { instances, installation, rollout } = knowledge.intents;
  if (installation !== null || rollout !== null || Object.values(instances).some((intent) => intent.restartRequestedAt !== null))
    void state.saveIntents(knowledge.intents).catch(() => undefined);
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
  for (const [gpu, at] of knowledge.turnsSince) knowledge.turnsSince.set(gpu, moved(at));
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
  knowledge.modelsCheckedAt = movedOrNull(knowledge.modelsCheckedAt);
  if (knowledge.failedInstallation !== null)
    knowledge.failedInstallation = { ...knowledge.failedInstallation, at: moved(knowledge.failedInstallation.at) };
  knowledge.holds = knowledge.holds.map((hold) => ({ ...hold, since: movedTime(hold.since) }));
  knowledge.intents = shiftIntents(knowledge.intents, moved, movedOrNull);
}

function shiftIntents(intents: Intents, moved: (at: number) => number, movedOrNull: (at: number | null) => number | null): Intents {
  const shifted = (intent: InstanceIntent): InstanceIntent => ({ ...intent, restartRequestedAt: movedOrNull(intent.restartRequestedAt) });
  return {
    ...intents,
    instances: Object.fromEntries(Object.entries(intents.instances).map(([gpu, intent]) => [gpu, shifted(intent)])),
    installation: intents.installation === null ? null : { ...intents.installation, requestedAt: moved(intents.installation.requestedAt) },
    rollout: intents.rollout === null ? null : { ...intents.rollout, startedAt: moved(intents.rollout.startedAt) },
  };
}
