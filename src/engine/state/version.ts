import { AgentError, asAgentError } from '../../domain/errors/errors.ts';
import { isOfTheDisk } from '../../domain/errors/no-room.ts';
import { STATE_VERSION_FILE, StateVersion } from '../../domain/state/version.ts';
import { STATE_VERSION } from '../../domain/versions.ts';
import type { Files } from '../../ports/files.ts';
import { parseJson } from './files.ts';

/** One step from version `to - 1` to `to`. */
export interface Migration {
  readonly to: number;
  /** Adds what is new and leaves all that the version before reads; may be cut and repeated. */
  readonly add: () => Promise<void>;
  /** Takes away what only the version before read, once there is no way back to it. */
  readonly finish: () => Promise<void>;
}

export interface VersionedState {
  /** False: the disk took nothing, and `save` is to be called again. */
  isSaved(): boolean;
  save(): Promise<void>;
  /** The new agent has proved itself: from now on older ones are refused. Does nothing the second time. */
  prove(): Promise<void>;
}

const versionFile = (stateDirectory: string): string => `${stateDirectory}/${STATE_VERSION_FILE}`;

/** What is there; null: nothing was written yet. @throws AgentError STATE_TOO_NEW when it is written in a way that this program does not know */
export async function readStateVersion(files: Pick<Files, 'readText'>, stateDirectory: string): Promise<StateVersion | null> {
  const text = await files.readText(versionFile(stateDirectory));
  if (text === null) return null;
  const parsed = StateVersion.safeParse(parseJson(text));
  if (parsed.success) return parsed.data;
  throw new AgentError('STATE_TOO_NEW', `${versionFile(stateDirectory)} says nothing that this agent understands`);
}

/** @throws AgentError STATE_TOO_NEW when this program is too old for what is there: it would lose what it cannot read */
export async function requireReadable(files: Pick<Files, 'readText'>, stateDirectory: string, current = STATE_VERSION): Promise<void> {
  const found = await readStateVersion(files, stateDirectory);
  if (found === null || found.minimum <= current) return;
  throw new AgentError(
    'STATE_TOO_NEW',
    `${stateDirectory} has state of version ${found.version}, for agents that read ${found.minimum} or newer; this one reads ${current}`,
  );
}

/**
 * Brings the state to what this program writes. A migration adds, so that the agent before still reads everything, also what
 * was written since; what is old goes only when the new agent has proved itself.
 *
 * @throws AgentError STATE_TOO_NEW
 */
export async function openState(
  files: Pick<Files, 'readText' | 'writeText'>,
  stateDirectory: string,
  migrations: readonly Migration[] = [],
  current = STATE_VERSION,
): Promise<VersionedState> {
  await requireReadable(files, stateDirectory, current);
  const found = await readStateVersion(files, stateDirectory);
  const write = (version: StateVersion): Promise<void> =>
    files.writeText(versionFile(stateDirectory), `${JSON.stringify(version)}\n`, 0o600);
  // Nothing there needs nothing brought over. What an older agent wrote since it was gone back to does, once more.
  const { version, minimum, writer } = found ?? { version: current, minimum: current, writer: current };
  const upTo = (from: number) => migrations.filter(({ to }) => to > from && to <= current).sort((a, b) => a.to - b.to);
  for (const migration of upTo(writer)) await migration.add();
  // An older agent does not lower what is there.
  const now = { version: Math.max(version, current), minimum, writer: current };
  let isSaved = found !== null && now.version === version && writer === current;
  const save = async (): Promise<void> => {
    await write(now);
    isSaved = true;
  };
  // The agent must be there to say that its disk is full, or took not even the directory.
  if (!isSaved)
    await save().catch((error: unknown) => {
      const fault = asAgentError(error);
      if (!isOfTheDisk(fault) && fault.details['code'] !== 'ENOENT') throw error;
    });
  let isProved = minimum >= current;
  return {
    isSaved: () => isSaved,
    save,
    prove: async () => {
      if (isProved) return;
      isProved = true;
      for (const migration of upTo(minimum)) await migration.finish();
      await write({ ...now, minimum: current });
    },
  };
}
