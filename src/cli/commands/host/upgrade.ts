import { AGENT_UNIT } from '../../../domain/configuration/access.ts';
import { AgentError, asAgentError } from '../../../domain/errors/errors.ts';
import { ExitCode } from '../../../domain/errors/registry.ts';
import { NOTHING_NAMED } from '../../../domain/host/host.ts';
import {
  type PendingUpgrade,
  type Pm2MoveDocument,
  type ProgramFacts,
  type Programs,
  previousOf,
  type UpgradeDocument,
} from '../../../domain/host/upgrade.ts';

import { requireRoot } from '../../../plan/host/refusals.ts';
import { compareInstances, judgeCandidate } from '../../../plan/host/upgrade.ts';
import { locate } from '../../client/locate.ts';
import { type Command, type Context, isSet, numberOf, textOf } from '../../context.ts';
import type { CliSystem } from '../../host.ts';
import { patience } from '../../interrupt.ts';
import { bringCandidate, type Candidate } from './upgrade/candidate.ts';
import { movePm2 } from './upgrade/move-pm2.ts';
import { type Look, lookAt, untilProved } from './upgrade/proof.ts';

const PROOF_MS = 60_000;
const FETCH_MS = 1_800_000;

/** `agent upgrade`: another program in place of this one, proved, or this one again. ComfyUI never notices. */
export const upgrade: Command = async (context, [source = ''], options) => {
  const { host } = context;
  if (source === '') {
    if (isSet(options, 'pm2')) return movePm2Only(context, isSet(options, 'dryRun'));
    throw new AgentError('USAGE', 'no new program was named', { help: '`agent upgrade --help` tells how' });
  }
  const sha256 = textOf(options, 'sha256')?.toLowerCase() ?? null;
  if (sha256 !== null && !/^[0-9a-f]{64}$/.test(sha256))
    throw new AgentError('USAGE', `--sha256 is 64 hex digits, and not "${sha256}"`, { help: '`sha256sum FILE` prints it' });
  if (!('file' in host.program))
    throw new AgentError('USAGE', 'this is the bundle, which is upgraded with its repository', {
      help: '`agent upgrade` replaces the single file',
    });
  const target = textOf(options, 'target') ?? host.program.file;
  const [system, programs] = await Promise.all([host.system(), host.programs()]);
  const { isRoot } = await system.facts(NOTHING_NAMED);
  if (!isSet(options, 'dryRun')) requireRoot(isRoot, context.commandLine('upgrade'), 'replacing the program');
  const { state } = await locate(host, context.selection);

  const limit = patience(host, FETCH_MS);
  const wish = { source, target, sha256, signature: textOf(options, 'signature') };
  const candidate = await bringCandidate(context, programs, wish, limit.signal).finally(limit.dispose);
  try {
    const from = { ...host.version, sha256: await programs.sha256(target) };
    const notes = judgeCandidate(await programs.inspect(target), candidate.version, await programs.stateVersion(state));
    const job = {
      context,
      system,
      programs,
      target,
      from: factsOf(from),
      to: factsOf({ ...candidate.version, sha256: candidate.sha256 }),
    };
    for (const note of notes) context.warn(`note: ${note}`);
    const isDryRun = isSet(options, 'dryRun');
    if (isDryRun || job.from.sha256 === job.to.sha256) finish(job, notes, null);
    else await carryOut(job, candidate, notes, numberOf(options, 'timeout') ?? PROOF_MS);
    if (isSet(options, 'pm2')) {
      const gpus = await movePm2(context, job.to, isDryRun);
      if (!context.json) tellPm2(context, { program: job.to, done: !isDryRun, gpus: [...gpus] });
    }
    return ExitCode.done;
  } finally {
    await programs.remove(candidate.file);
  }
};

async function movePm2Only(context: Context, isDryRun: boolean): Promise<ExitCode> {
  const { agent, node, pm2 } = context.host.version;
  const gpus = await movePm2(context, { agent, node, pm2 }, isDryRun);
  tellPm2(context, { program: { agent, node, pm2 }, done: !isDryRun, gpus: [...gpus] });
  return ExitCode.done;
}

function tellPm2(context: Context, document: Pm2MoveDocument): void {
  const { program, done, gpus } = document;
  if (context.json) context.printJson(document);
  else if (done) context.print(`PM2's daemon is that of agent ${program.agent} now; ${gpus.length} instances came back`);
  else context.print('nothing was changed');
}

const factsOf = ({ agent, commit, node, pm2, sha256 }: ProgramFacts): ProgramFacts => ({ agent, commit, node, pm2, sha256 });

interface Job {
  readonly context: Context;
  readonly system: CliSystem;
  readonly programs: Programs;
  readonly target: string;
  readonly from: ProgramFacts;
  readonly to: ProgramFacts;
}

interface Outcome {
  readonly before: Look | null;
  readonly after: Look | null;
  readonly awayMs: number | null;
}

async function carryOut(job: Job, candidate: Candidate, notes: readonly string[], timeoutMs: number): Promise<void> {
  const { context, system, programs, target } = job;
  const previous = previousOf(target);
  await requireAlone(programs);
  const before = await lookAt(context);
  const { units } = await system.facts({ ...NOTHING_NAMED, units: [AGENT_UNIT] });
  const isOurs = units[AGENT_UNIT]?.isActive === true;
  const pending: PendingUpgrade = {
    schema: 1,
    startedAt: new Date().toISOString(),
    target,
    from: job.from,
    to: job.to,
    by: programs.own(),
    starts: 0,
  };
  // Only a unit counts starts and goes back; without one there is nobody to read it.
  if (isOurs) {
    await programs.requireSafe(target);
    await programs.savePending(pending);
  }
  await programs.replace(target, candidate.file, previous).catch(async (error: unknown) => {
    if (isOurs) await programs.savePending(null);
    throw error;
  });
  context.note(`${target} is agent ${job.to.agent} now; the one before is ${previous}`);
  if (!isOurs) {
    const told = before === null ? [] : ['the running agent is not that of systemd: restart it to use the new program'];
    return finish(job, [...notes, ...told], null, true);
  }
  const restart = (): Promise<void> => system.carryOut({ do: 'restart', units: [AGENT_UNIT] });
  try {
    // Nothing to compare with: the new agent proves itself, or the guard of the unit goes back.
    if (before === null) {
      await restart();
      return finish(job, notes, null, true);
    }
    context.note('the agent starts again; instances go on');
    const { look, awayMs } = await untilProved(context, { before, version: job.to.agent, timeoutMs, restart });
    await programs.savePending(null);
    return finish(job, notes, { before, after: look, awayMs }, true);
  } catch (error) {
    await goBack(job, restart);
    const { message, code, details } = asAgentError(error);
    throw new AgentError('UPGRADE_FAILED', `${message}; agent ${job.from.agent} is back`, { details: { ...details, code }, cause: error });
  }
}

/** @throws AgentError HELD while another command does the same */
async function requireAlone(programs: Programs): Promise<void> {
  const other = await programs.pending();
  if (other !== null && programs.lives(other.by))
    throw new AgentError('HELD', `an upgrade to agent ${other.to.agent} runs (pid ${other.by.pid})`, { help: 'wait until it has ended' });
}

async function goBack({ context, programs, target, from }: Job, restart: () => Promise<void>): Promise<void> {
  context.warn(`going back to agent ${from.agent}`);
  await programs.goBack(target, from.sha256);
  await restart();
  await programs.savePending(null);
}

function finish({ context, target, from, to }: Job, notes: readonly string[], outcome: Outcome | null, done = false): void {
  const { before = null, after = null, awayMs = null } = outcome ?? {};
  const instances = before === null || after === null ? null : compareInstances(before.instances, after.instances);
  const document: UpgradeDocument = {
    target,
    from,
    to,
    done,
    notes: [...notes],
    instances: instances === null ? null : { kept: [...instances.kept], restarted: [...instances.restarted] },
    awayMs,
  };
  if (context.json) context.printJson(document);
  else if (from.sha256 === to.sha256) context.print(`nothing is to be done: ${target} is that program already`);
  else if (!done) context.print(`agent ${from.agent} -> ${to.agent} in ${target}; nothing was changed`);
  else {
    const kept =
      instances === null
        ? ''
        : `; ${instances.kept.length} instances went on${instances.restarted.length === 0 ? '' : `, restarted: ${instances.restarted.join(', ')}`}`;
    context.print(
      `upgraded: agent ${from.agent} -> ${to.agent}${kept}${awayMs === null ? '' : `; the agent was away for ${(awayMs / 1_000).toFixed(1)} s`}`,
    );
  }
}
