import { AgentError } from '../../domain/errors/errors.ts';
import type { Documents } from '../../domain/health/documents.ts';
import type { Release, ReleaseFailure } from '../../domain/installation/release.ts';
import type { InstanceDocument } from '../../domain/instances/instance.ts';
import { toTime } from '../../domain/observed.ts';
import type { Intents, PinnedRelease, Rollout } from '../../domain/state/state.ts';
import { lockText } from '../../plan/installation/lock.ts';
import { intentOf, withInstance, withoutQuarantine } from '../../plan/instances/intents.ts';
import type { Ports } from '../../ports.ts';
import type { Journal } from '../journal.ts';
import type { Knowledge } from '../knowledge.ts';
import { forgiveExits } from '../records.ts';
import type { StateStore } from '../state/store.ts';
import {
  REJECTION_NOTE,
  readCurrent,
  readFailure,
  readReleaseLock,
  readWhole,
  recordRelease,
  releaseDirectory,
  writeRecord,
} from './releases.ts';

/** What moving a machine from one release to another needs. */
export interface RolloutContext {
  readonly ports: Pick<Ports, 'files' | 'clock'>;
  readonly knowledge: Knowledge;
  readonly state: StateStore;
  readonly journal: Journal;
  readonly documents: () => Documents;
  /** Every change of the documents, the present ones first. */
  readonly changes: (signal: AbortSignal) => AsyncIterable<Documents>;
  /** False in a command without an agent: instances are moved by the next agent. */
  readonly moves: boolean;
}

export interface Move {
  readonly to: string;
  readonly direction: Rollout['direction'];
  readonly reason: string;
  readonly atOnce: boolean;
  /** Why the release that is left is not to be used again. */
  readonly rejected: string | null;
  readonly pinnedRelease: PinnedRelease | null;
  /** What these did on the release that is left is not held against them: they are free to serve. */
  readonly absolved: readonly number[];
  /** Absent: those that serve now. */
  readonly serving?: readonly number[];
}

/**
 * Switches `current`, and has the instances follow. What is to be done is written down first, so that an agent that ends
 * in between is followed by one that goes on.
 */
export async function moveTo(context: RolloutContext, move: Move): Promise<void> {
  const { knowledge, ports } = context;
  const { layout } = knowledge.configuration;
  const { release: present, problem } = await readCurrent(ports.files, layout);
  const before = knowledge.intents;
  const from = problem === null ? (present?.id ?? null) : null;
  const rollout: Rollout | null =
    from === null || from === move.to || !hasInstances(knowledge)
      ? null
      : {
          from,
          to: move.to,
          startedAt: ports.clock.now(),
          serving: [...(move.serving ?? servingNow(context, before.rollout))],
          direction: move.direction,
          reason: move.reason,
          atOnce: move.atOnce,
          rejected: move.rejected,
        };
  knowledge.switching = true;
  try {
    await context.state.change((intents) => ({
      ...withoutQuarantine(intents, move.absolved),
      rollout,
      pinnedRelease: move.pinnedRelease,
      // Going back is a newer wish than any installation that was asked for before.
      ...(move.direction === 'back' ? { installation: null } : {}),
    }));
    await switchCurrent(context, { to: move.to, from: from ?? move.to, rejected: move.rejected }).catch(async (error: unknown) => {
      await takeBackWish(context, before, move.absolved);
      throw error;
    });
    knowledge.rolloutTrouble = null;
    for (const gpu of move.absolved) forgiveExits(context.journal, knowledge, gpu, move.reason);
  } finally {
    knowledge.switching = false;
  }
}

/** What stays in use is what was wished for before. */
const takeBackWish = ({ state }: RolloutContext, before: Intents, absolved: readonly number[]): Promise<string | null> =>
  state.note('the release that stays', (intents) => ({
    ...absolved.reduce((changed, gpu) => {
      const { quarantined, quarantine } = intentOf(before, gpu);
      return withInstance(changed, gpu, { quarantined, quarantine });
    }, intents),
    rollout: before.rollout,
    pinnedRelease: before.pinnedRelease,
    installation: before.installation,
  }));

/** The switch itself: notes, lock, link. Can be cut anywhere and repeated. */
async function switchCurrent({ ports, knowledge }: RolloutContext, move: Pick<Rollout, 'to' | 'from' | 'rejected'>): Promise<void> {
  const { files, clock } = ports;
  const { layout } = knowledge.configuration;
  const directory = releaseDirectory(layout, move.to);
  if (move.rejected !== null) {
    const note: ReleaseFailure = { at: toTime(clock.now()), reason: move.rejected, code: 'ROLLOUT_FAILED' };
    await writeRecord(files, layout, move.from, REJECTION_NOTE, `${JSON.stringify(note)}\n`);
  }
  // The lock names what is installed, so that the next installation starts from it.
  const lock = await readReleaseLock(files, layout, move.to);
  if (lock !== null) {
    const text = lockText(lock);
    if (text !== (await files.readText(layout.lockFile))) await files.writeText(layout.lockFile, text);
    // Not only once the change of the file is seen: until then the release would seem to differ from what is asked for.
    knowledge.inputs = { ...knowledge.inputs, lock };
  }
  if (await files.link(directory, layout.current)) return;
  throw new AgentError('ROOT_NOT_WRITABLE', `${layout.current} is in the way: it is no link`, {
    help: 'move it away; the agent makes a link of that name',
  });
}

/** What the loop does when `current` does not name the release that a rollout goes to. */
export async function resumeSwitch(context: RolloutContext): Promise<void> {
  const { rollout } = context.knowledge.intents;
  if (rollout === null) return;
  const { problem } = await readWhole(context.ports.files, context.knowledge.configuration.layout, rollout.to);
  if (problem === null) return switchCurrent(context, rollout);
  await forgetRollout(context);
  record(context, 'rollout.given-up', 'error', `instances stay where they are: ${problem}`, rollout);
}

/** A release on which an instance does not become ready: back to the one before, and it is not tried again by itself. */
export async function takeBack(context: RolloutContext, reason: string): Promise<void> {
  const { knowledge, ports } = context;
  const { rollout } = knowledge.intents;
  const { layout } = knowledge.configuration;
  if (rollout === null || rollout.direction === 'back') return;
  const { problem } = await readWhole(ports.files, layout, rollout.from);
  if (problem !== null) {
    knowledge.rolloutTrouble = `${reason}; it stays in use, because ${problem}`;
    await forgetRollout(context);
    return record(context, 'rollout.failed', 'error', `release ${rollout.to}: ${knowledge.rolloutTrouble}`, rollout);
  }
  record(context, 'rollout.failed', 'error', `release ${rollout.to} is taken back: ${reason}`, rollout);
  const { release: refused } = await readWhole(ports.files, layout, rollout.to);
  await moveTo(context, {
    to: rollout.from,
    direction: 'back',
    reason: `release ${rollout.to} was taken back: ${reason}`,
    atOnce: false,
    rejected: reason,
    pinnedRelease: {
      release: rollout.from,
      reason: `release ${rollout.to} was taken back: ${reason}`,
      specDigest: refused?.specDigest ?? null,
    },
    absolved: rollout.serving.filter((gpu) => knowledge.instances.of(gpu).watch !== null),
    serving: rollout.serving,
  });
}

export async function endRollout(context: RolloutContext, message: string, trouble: string | null): Promise<void> {
  const { knowledge, ports } = context;
  const { rollout } = knowledge.intents;
  if (rollout === null) return;
  const { files } = ports;
  const { layout, config } = knowledge.configuration;
  const { release } = await readWhole(files, layout, rollout.to);
  const onCards =
    knowledge.desired?.instances.some((instance) => instance.mode === 'gpu' && rollout.serving.includes(instance.gpu)) ?? false;
  if (release?.validated?.cuda === 'pending' && trouble === null && onCards && config.health.canary.enabled) {
    const proved: Release = { ...release, validated: { ...release.validated, cuda: 'instance' } };
    await recordRelease(files, layout, proved);
  }
  knowledge.rolloutTrouble = trouble;
  await forgetRollout(context);
  record(
    context,
    'rollout.done',
    trouble === null ? 'info' : 'warn',
    `release ${rollout.to}: ${message}${trouble === null ? '' : `; ${trouble}`}`,
    rollout,
  );
}

/** Follows whatever rollout is on until there is none. */
export async function untilMoved(context: RolloutContext, signal: AbortSignal, tell: (message: string) => void): Promise<void> {
  const { knowledge } = context;
  if (!context.moves || knowledge.intents.rollout === null) return;
  let told = '';
  for await (const _ of context.changes(signal)) {
    const { rollout } = knowledge.intents;
    if (rollout === null) return;
    const message = knowledge.rollout?.message ?? 'begins';
    const text = rollout.rejected === null ? message : `going back: ${message}`;
    // Whoever is told may make new documents of it.
    if (text !== told) tell(text);
    told = text;
  }
  signal.throwIfAborted();
  throw new AgentError('INTERRUPTED', 'the agent is stopping');
}

/**
 * The same for one release, which must be in use afterwards.
 * @throws AgentError ROLLOUT_FAILED when it was taken back, INSTANCE_FAILED when it stays although an instance does not become ready
 */
export async function followMove(context: RolloutContext, signal: AbortSignal, to: string, tell: (message: string) => void): Promise<void> {
  const { knowledge, ports } = context;
  const { layout } = knowledge.configuration;
  await untilMoved(context, signal, tell);
  const current = (await ports.files.readLink(layout.current))?.split('/').at(-1) ?? null;
  const trouble = knowledge.rolloutTrouble;
  if (current === to) {
    if (trouble !== null) throw new AgentError('INSTANCE_FAILED', `release ${to} is in use, but ${trouble}`);
    return;
  }
  const failure = await readFailure(ports.files, layout, to);
  throw new AgentError('ROLLOUT_FAILED', `release ${to} was taken back: ${failure?.reason ?? 'another release was asked for'}`, {
    help: `release ${current ?? 'before'} is in use again; see \`agent logs\`, correct it and run \`agent install\``,
  });
}

const forgetRollout = ({ state }: RolloutContext): Promise<string | null> =>
  state.note('the end of the rollout', (intents) => (intents.rollout === null ? intents : { ...intents, rollout: null }));

/** Processes that cannot be seen may be there. */
const hasInstances = ({ observed }: Knowledge): boolean =>
  observed === null || !observed.processes.known || observed.processes.value.some((process) => process.release !== null);

const serves = ({ layers }: InstanceDocument): boolean => layers.runtime.status === 'pass' && layers.functional.status === 'pass';

const servingNow = ({ documents }: RolloutContext, earlier: Rollout | null): readonly number[] => [
  ...new Set([
    ...(earlier?.serving ?? []),
    ...documents()
      .instances.instances.filter(serves)
      .map(({ gpu }) => gpu),
  ]),
];

function record({ journal }: RolloutContext, type: string, level: 'info' | 'warn' | 'error', message: string, rollout: Rollout): void {
  journal.record({ type, target: 'installation', level, message, data: { from: rollout.from, to: rollout.to } });
}
