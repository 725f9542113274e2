import { AgentError, ExitCode } from '../../domain/errors.ts';
import { NOTHING_NAMED } from '../../domain/host.ts';
import { PM2_UNIT } from '../../plan/host-layout.ts';
import { requireRoot } from '../../plan/host-refusals.ts';
import { requireAgent } from '../connect.ts';
import type { Context } from '../context.ts';
import { runOperation } from '../follow.ts';

/**
 * PM2's daemon from the program in place. It hosts every instance, so each finishes its jobs and stops, the daemon starts
 * again, and all come back. @throws AgentError USAGE where systemd does not run it, and of the operations
 */
export async function movePm2(context: Context): Promise<ExitCode> {
  const system = await context.host.system();
  const { isRoot, units } = await system.facts({ ...NOTHING_NAMED, units: [PM2_UNIT] });
  requireRoot(isRoot, context.commandLine('upgrade --pm2'));
  if (units[PM2_UNIT]?.isActive !== true)
    throw new AgentError('USAGE', `${PM2_UNIT} does not run, so there is no daemon to move`, {
      help: 'an agent that runs PM2 by itself moves it when it is restarted',
    });
  const connection = await requireAgent(context);
  const running = (await connection.agent.instances()).instances.filter(({ pid }) => pid !== null).map(({ gpu }) => gpu);
  const follow = { verb: 'upgrade --pm2', wait: true, timeoutMs: null };
  context.note(`PM2 starts again: ${running.length} instances finish their jobs, stop and come back`);
  if (running.length > 0) await runOperation(context, connection, { kind: 'stop', gpus: running, drain: true }, follow);
  await system.carryOut({ do: 'restart', units: [PM2_UNIT] });
  if (running.length > 0) await runOperation(context, connection, { kind: 'start', gpus: running }, follow);
  context.print(`PM2's daemon is that of agent ${context.host.version.agent} now`);
  return ExitCode.done;
}
