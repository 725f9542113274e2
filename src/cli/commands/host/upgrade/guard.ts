import { AgentError } from '../../../../domain/errors/errors.ts';
import { ExitCode } from '../../../../domain/errors/registry.ts';
import { isProofOf } from '../../../../domain/host/upgrade.ts';
import { STATE } from '../../../../plan/host/layout.ts';
import { guardedBy, judgePending, requireAbout } from '../../../../plan/host/upgrade.ts';
import type { Command } from '../../../context.ts';

/**
 * `agent __upgrade-guard`, run by systemd as root from the program before, each time before the agent starts while an upgrade has
 * not proved itself: counts, and goes back when the new program does not come up and nobody watches over it. All that it acts on is
 * of root and at a fixed place; the agent's word can only make it do nothing.
 */
export const upgradeGuard: Command = async ({ host, warn }) => {
  if (!('file' in host.program)) throw new AgentError('UPGRADE_REFUSED', 'this is the bundle, which guards nothing');
  const target = guardedBy(host.program.file);
  const programs = await host.programs();
  const pending = await programs.pending();
  if (pending === null) return ExitCode.done;
  requireAbout(pending, target);
  const isWatched = programs.lives(pending.by);
  const isProved = !isWatched && isProofOf(await programs.proof(STATE), pending);
  // Reading it all takes a part of the second in which the agent is away.
  const inPlace = isWatched || isProved ? null : await programs.sha256(target).catch(() => null);
  const decision = judgePending(pending, { isWatched, isProved, inPlace, now: Date.now() });
  if (decision === 'start') {
    await programs.savePending({ ...pending, starts: pending.starts + 1 });
    return ExitCode.done;
  }
  if (decision === 'forget') {
    await programs.savePending(null);
    return ExitCode.done;
  }
  await programs.goBack(target, pending.from.sha256);
  await programs.savePending(null);
  warn(`agent ${pending.to.agent} did not prove itself after ${pending.starts} starts: agent ${pending.from.agent} is back in ${target}`);
  return ExitCode.done;
};
