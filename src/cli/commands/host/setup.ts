import { AGENT_UNIT } from '../../../domain/configuration/access.ts';
import { AgentError } from '../../../domain/errors/errors.ts';
import { ExitCode } from '../../../domain/errors/registry.ts';
import { type HostFacts, type HostStep, NOTHING_NAMED, type SetupDocument } from '../../../domain/host/host.ts';
import { environmentNotes, serviceEnvironment } from '../../../plan/configuration/service-environment.ts';
import { DEFAULT_PREFIX, placed } from '../../../plan/host/layout.ts';
import { fatalFindings, helpForHeld, refuseSetup, requirePlainPath, requireRoot, setupNotes } from '../../../plan/host/refusals.ts';
import { planSetup, type SetupWish, setupQuestion } from '../../../plan/host/setup.ts';
import { findAgent } from '../../client/connect.ts';
import { type Command, type Context, isSet, numberOf, type Options, textOf } from '../../context.ts';
import type { CliSystem } from '../../host.ts';
import { findingLines } from '../../render/doctor.ts';
import { stepLines } from '../../render/host-steps.ts';
import { carryOutAll } from './setup/carry-out.ts';
import { uninstall } from './setup/uninstall.ts';
import { waitUntilUp } from './setup/wait-until-up.ts';
import { type Asked, askWish } from './setup/wish.ts';

const UP_MS = 120_000;

/** `agent setup`: makes a machine ready to run the agent under systemd, and starts it. */
export const setup: Command = async (context, _args, options) => {
  if (isSet(options, 'print')) {
    context.print(await context.host.asset('install.sh'));
    return ExitCode.done;
  }
  const system = await context.host.system();
  const { isRoot } = await system.facts(NOTHING_NAMED);
  requireRoot(isRoot, context.commandLine('setup'));
  const prefix = textOf(options, 'prefix') ?? DEFAULT_PREFIX;
  requirePlainPath(prefix, '--prefix');
  if (isSet(options, 'uninstall')) return uninstall(context, system, { prefix, ...flagsOf(options) });
  if (isSet(options, 'purge')) throw new AgentError('USAGE', '--purge goes with --uninstall', { help: '`agent setup --help` tells more' });

  const asked = await askWish(context, options, prefix);
  const { wish, secrets } = asked;
  const facts = await system.facts(setupQuestion(wish));
  refuseSetup(wish, facts, isSet(options, 'yes'));
  const steps = planSetup(wish, facts);
  const notes = [...setupNotes(wish, facts), ...environmentNotes(secrets, context.host.environment)];
  if (steps.length > 0) await askDoctor(context, options, asked);
  return settle(context, system, { wish, facts, steps, notes, options });
};

const flagsOf = (options: Options) => ({ purge: isSet(options, 'purge'), yes: isSet(options, 'yes'), dryRun: isSet(options, 'dryRun') });

interface Job {
  readonly wish: SetupWish;
  readonly facts: HostFacts;
  readonly steps: readonly HostStep[];
  readonly notes: readonly string[];
  readonly options: Options;
}

async function settle(context: Context, system: CliSystem, { wish, facts, steps, notes, options }: Job): Promise<ExitCode> {
  const { dryRun } = flagsOf(options);
  if (!dryRun) await carryOutAll(context, system, steps);
  for (const note of notes) context.note(`note: ${note}`);
  const starts = wish.start && facts.hasSystemd && !dryRun && steps.length > 0;
  const state = starts ? await waitUntilUp(context, numberOf(options, 'timeout') ?? UP_MS) : null;
  const document: SetupDocument = {
    root: wish.root,
    done: !dryRun,
    steps: steps.map(({ what, why, how }) => ({ what, why, how })),
    notes: [...notes],
  };
  if (context.json) context.printJson(document);
  else if (steps.length === 0) context.print('nothing is to be done: this machine is set up');
  else if (dryRun) context.print(stepLines(steps, context));
  else context.print(state ?? `set up for ${wish.root}; nothing was started`);
  return ExitCode.done;
}

/** @throws AgentError HELD when the agent could not work on this machine, and nobody said that it should be set up all the same */
async function askDoctor(context: Context, options: Options, { wish, secrets }: Asked): Promise<void> {
  const connection = await findAgent(context).catch(() => null);
  context.note('looking at the machine first (agent doctor)');
  // What the agent will see, and not what this shell happens to have.
  const environment = serviceEnvironment(placed(wish.units[AGENT_UNIT] ?? '', wish), secrets);
  const document = connection === null ? await context.host.doctor(context.selection, environment) : await connection.agent.doctor();
  const failing = document.findings.filter(({ status }) => status === 'fail');
  for (const line of findingLines(failing, {
    style: context.errorStyle,
    columns: context.host.stderr.isTty ? context.host.stderr.columns : 0,
  }))
    context.warn(line);
  const fatal = fatalFindings(document);
  if (fatal.length === 0 || isSet(options, 'yes') || isSet(options, 'dryRun')) return;
  throw new AgentError('HELD', `the agent could not work on this machine: ${fatal.map(({ check }) => check).join(', ')}`, {
    help: helpForHeld(failing),
    details: { checks: fatal.map(({ check }) => check) },
  });
}
