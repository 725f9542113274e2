import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { AgentError, ExitCode } from '../../domain/errors.ts';
import { type HostFacts, type HostStep, NOTHING_NAMED, type SetupDocument } from '../../domain/host.ts';
import { completedConfiguration, newConfiguration } from '../../plan/host-configuration.ts';
import { CONFIGURATION_FILE, DEFAULT_PREFIX, MARK, UNIT_FILES } from '../../plan/host-layout.ts';
import { fatalFindings, refuseSetup, requirePlainPath, requireRoot, setupNotes } from '../../plan/host-refusals.ts';
import { planSetup, type SetupWish, setupQuestion } from '../../plan/host-setup.ts';
import { findAgent } from '../connect.ts';
import { type Command, type Context, isSet, numberOf, type Options, textOf } from '../context.ts';
import type { CliSystem } from '../host.ts';
import { findingLines } from '../render/doctor.ts';
import { stepLines } from '../render/host-steps.ts';
import { carryOutAll } from '../setup/carry-out.ts';
import { uninstall } from '../setup/uninstall.ts';
import { waitUntilUp } from '../setup/wait-until-up.ts';

/** Where the doctor looks for programs that root will run; as the units have it. */
const SAFE_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
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

  const wish = await wishOf(context, options, prefix);
  const facts = await system.facts(setupQuestion(wish));
  refuseSetup(wish, facts, isSet(options, 'yes'));
  const steps = planSetup(wish, facts);
  const notes = setupNotes(wish, facts);
  if (steps.length > 0) await askDoctor(context, options);
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

/** Everything about the wish that must be asked for: configuration, shipped files, this program. */
async function wishOf(context: Context, options: Options, prefix: string): Promise<SetupWish> {
  const { host, selection } = context;
  const flag = selection.flags.find(({ key }) => key === 'root')?.value;
  const present = await readFile(CONFIGURATION_FILE, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return null;
    throw error;
  });
  const { config, provenance } = await host.readConfiguration(selection);
  if (present !== null && typeof flag === 'string') {
    const { config: written } = await host.readConfiguration({ ...selection, flags: selection.flags.filter(({ key }) => key !== 'root') });
    if (written.root !== config.root)
      throw new AgentError('USAGE', `${CONFIGURATION_FILE} says that the root is ${written.root}, not ${config.root}`, {
        help: 'change it there, or leave --root out',
      });
  }
  requirePlainPath(config.root, '--root');
  const units = await Promise.all(UNIT_FILES.map(async (unit) => [unit, await host.asset(`systemd/${unit}`)] as const));
  const legacy = isSet(options, 'legacy')
    ? { initScript: await host.asset('legacy/comfyui'), mgpu: await host.asset('legacy/mgpu') }
    : null;
  return {
    root: config.root,
    prefix,
    program: 'file' in host.program ? host.program : { text: starterOf(host.program.command) },
    configuration: present === null ? newConfiguration(config.root) : completedConfiguration(present, provenance),
    secrets: `# ${MARK}; read by systemd, 0600\n# NAME=value lines; \`systemctl restart comfy-agent\` after a change.\nAGENT_TOKEN=${randomBytes(32).toString('base64url')}\n`,
    units: Object.fromEntries(units),
    legacy,
    start: options['start'] !== false,
  };
}

const starterOf = (command: readonly string[]): string =>
  `#!/bin/sh\n# ${MARK}\nexec ${command.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(' ')} "$@"\n`;

/** @throws AgentError HELD when the agent could not work on this machine, and nobody said that it should be set up all the same */
async function askDoctor(context: Context, options: Options): Promise<void> {
  const connection = await findAgent(context).catch(() => null);
  context.note('looking at the machine first (agent doctor)');
  const document = connection === null ? await context.host.doctor(context.selection, SAFE_PATH) : await connection.agent.doctor();
  const failing = document.findings.filter(({ status }) => status === 'fail');
  for (const line of findingLines(failing, {
    style: context.errorStyle,
    columns: context.host.stderr.isTty ? context.host.stderr.columns : 0,
  }))
    context.warn(line);
  const fatal = fatalFindings(document);
  if (fatal.length === 0 || isSet(options, 'yes') || isSet(options, 'dryRun')) return;
  throw new AgentError('HELD', `the agent could not work on this machine: ${fatal.map(({ check }) => check).join(', ')}`, {
    help: 'mend what is named above and run this again; --yes sets the machine up all the same',
    details: { checks: fatal.map(({ check }) => check) },
  });
}
