import type { VersionDocument } from '../../../../domain/agent.ts';
import { AgentError } from '../../../../domain/errors/errors.ts';
import { NOTHING_NAMED } from '../../../../domain/host/host.ts';
import type { InstanceDocument } from '../../../../domain/instances/instance.ts';
import { PM2_UNIT } from '../../../../plan/host/layout.ts';
import { requireRoot } from '../../../../plan/host/refusals.ts';
import { type Connection, requireAgent } from '../../../client/connect.ts';
import { runOperation } from '../../../client/follow.ts';
import type { Context } from '../../../context.ts';

const FOLLOW = { verb: 'upgrade --pm2', wait: true, timeoutMs: null };

/**
 * PM2's daemon from the program in place. It hosts every instance, so each finishes its jobs and stops, the daemon starts
 * again, and all come back; they come back too when it cannot be done.
 * @param program what is in place
 * @param isDryRun told, and not done
 * @returns GPUs of the instances that are, or would be, restarted
 * @throws AgentError USAGE where systemd does not run it, and of the operations
 */
export async function movePm2(
  context: Context,
  program: Pick<VersionDocument, 'agent' | 'node' | 'pm2'>,
  isDryRun: boolean,
): Promise<readonly number[]> {
  const system = await context.host.system();
  const { isRoot, units } = await system.facts({ ...NOTHING_NAMED, units: [PM2_UNIT] });
  if (!isDryRun) requireRoot(isRoot, context.commandLine('upgrade --pm2'), "restarting PM2's daemon");
  if (units[PM2_UNIT]?.isActive !== true)
    throw new AgentError('USAGE', `${PM2_UNIT} does not run, so there is no daemon to move`, {
      help: 'an agent that runs PM2 by itself moves it when it is restarted',
    });
  const connection = await requireAgent(context);
  const running = (await connection.agent.instances()).instances.filter(({ pid }) => pid !== null);
  const gpus = running.map(({ gpu }) => gpu);
  const subject =
    running.length === 0 ? 'no instance runs' : `${running.map(described).join(', ')} take no new jobs, finish theirs, stop and come back`;
  context.warn(`note: PM2's daemon starts again from agent ${program.agent} (PM2 ${program.pm2}, Node ${program.node}): ${subject}`);
  if (isDryRun) return gpus;
  try {
    if (gpus.length > 0) await runOperation(context, connection, { kind: 'stop', gpus, drain: true }, FOLLOW);
    await system.carryOut({ do: 'restart', units: [PM2_UNIT] });
  } catch (error) {
    await bringBack(context, connection, gpus);
    throw error;
  }
  if (gpus.length > 0) await runOperation(context, connection, { kind: 'start', gpus }, FOLLOW);
  return gpus;
}

function described({ name, queue }: InstanceDocument): string {
  const jobs = queue === null ? null : queue.running + queue.pending;
  return `${name} (${jobs === null ? 'jobs not known' : jobs === 0 ? 'idle' : `${jobs} job${jobs === 1 ? '' : 's'}`})`;
}

/** The wish to run, whatever became of the wish to stop. */
async function bringBack(context: Context, connection: Connection, gpus: readonly number[]): Promise<void> {
  if (gpus.length === 0) return;
  try {
    await runOperation(context, connection, { kind: 'start', gpus: [...gpus] }, { ...FOLLOW, wait: false });
  } catch {
    context.warn(`the instances were asked to stop: \`${context.commandLine(`start ${gpus.join(' ')}`)}\` brings them back`);
  }
}
