import { AgentError, asAgentError } from '../../domain/errors/errors.ts';
import { ExitCode } from '../../domain/errors/registry.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Files } from '../../ports/files.ts';
import type { ServiceManager } from '../../ports/host.ts';
import { openUpgrade } from '../host/upgrade-proof.ts';

/** Edits come in batches: whoever writes one file may be about to write the next. */
const SETTLE_MS = 2_000;

export interface RefusedStartOptions {
  /** Null: nobody but a person started the agent, and sees why it ends. */
  readonly manager: Pick<ServiceManager, 'notify'> | null;
  readonly files: Pick<Files, 'modifiedAt' | 'readText'>;
  readonly clock: Pick<Clock, 'sleep'>;
  /** Files whose edit may mend it. */
  readonly watched: readonly string[];
  /** Null: not known without the configuration. */
  readonly stateDirectory: string | null;
  readonly stop: AbortSignal;
}

/**
 * Runs the agent. When it cannot start, the service manager is told why, and whether to try again: with exit code 2 (a person
 * must act) the unit stays down until the files of the operator change, with any other it starts anew by itself.
 *
 * @throws AgentError as `work` does; HELD (start anew) in place of one with exit code 2 when trying again can help
 */
export async function orRefuse(options: RefusedStartOptions, work: () => Promise<void>): Promise<void> {
  const { manager, files, clock, watched, stateDirectory, stop } = options;
  if (manager === null) return work();
  const before = await stampOf(files, watched);
  try {
    await work();
  } catch (thrown) {
    const error = asAgentError(thrown);
    const needsPerson = error.exitCode === ExitCode.usage;
    await manager.notify({
      status: `not started: ${error.message}; ${error.help}${needsPerson ? '. It starts by itself when that is mended' : ''}`,
    });
    if (!needsPerson) throw error;
    await clock.sleep(SETTLE_MS, stop).catch(() => undefined);
    // What was written while the agent looked is seen by nobody else: systemd watches only while the unit is down.
    if ((await stampOf(files, watched)) !== before)
      throw new AgentError('HELD', 'the configuration was edited meanwhile', { help: 'nothing to do: it is read again', cause: error });
    // The program before comes back after some starts; it may well take this configuration.
    if (stateDirectory !== null && (await openUpgrade(files, stateDirectory).catch(() => null)) !== null)
      throw new AgentError('HELD', error.message, { help: 'the program before the upgrade comes back after three starts', cause: error });
    throw error;
  }
}

async function stampOf(files: Pick<Files, 'modifiedAt'>, paths: readonly string[]): Promise<string> {
  return (await Promise.all(paths.map((path) => files.modifiedAt(path).catch(() => null)))).join(' ');
}
