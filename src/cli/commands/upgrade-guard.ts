import { ExitCode } from '../../domain/error-registry.ts';
import { judgePending } from '../../plan/upgrade.ts';
import type { Command } from '../context.ts';

/**
 * `agent __upgrade-guard STATE`, run by systemd from the program before, each time before the agent starts while an upgrade has
 * not proved itself: counts, and goes back when the new program does not come up and nobody watches over it.
 */
export const upgradeGuard: Command = async ({ host, warn }, [state = '']) => {
  const programs = await host.programs();
  const pending = await programs.pending(state);
  if (pending === null) return ExitCode.done;
  const isWatched = programs.lives(pending.by);
  // Reading it all takes a part of the second in which the agent is away.
  const inPlace = isWatched ? null : await programs.sha256(pending.target).catch(() => null);
  const decision = judgePending(pending, { isWatched, inPlace, now: Date.now() });
  if (decision === 'start') {
    await programs.savePending(state, { ...pending, starts: pending.starts + 1 });
    return ExitCode.done;
  }
  if (decision === 'forget') {
    await programs.savePending(state, null);
    return ExitCode.done;
  }
  await programs.goBack(pending.target, pending.previous);
  await programs.savePending(state, null);
  warn(
    `agent ${pending.to.agent} did not prove itself after ${pending.starts} starts: agent ${pending.from.agent} is back in ${pending.target}`,
  );
  return ExitCode.done;
};
