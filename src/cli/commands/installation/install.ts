import { resolve } from 'node:path';
import type { Agent } from '../../../domain/agent.ts';
import { AgentError } from '../../../domain/errors/errors.ts';
import { ExitCode } from '../../../domain/errors/registry.ts';
import type { InstallationDocument } from '../../../domain/health/health.ts';
import type { InstallPreview } from '../../../domain/installation/preview.ts';
import type { OperationDocument, OperationKind } from '../../../domain/operation.ts';
import { withAgent } from '../../client/connect.ts';
import { runOperation } from '../../client/follow.ts';
import { type Command, type Context, isSet, numberOf, type Options, textOf } from '../../context.ts';
import { pause } from '../../interrupt.ts';
import { driftLines } from '../../render/difference.ts';
import { installationLines, previewLines } from '../../render/installation.ts';

const LOOKS = 20;
const LOOK_MS = 100;

/** install, reinstall: in the running agent, or here while none runs. */
const verb =
  (kind: Extract<OperationKind, 'install' | 'reinstall'>): Command =>
  (context, _args, options) =>
    withAgent(context, isSet(options, 'dryRun') || isSet(options, 'verify') ? 'examine' : 'change', async (connection) => {
      const file = textOf(options, 'bundle');
      if (file !== null && (isSet(options, 'verify') || isSet(options, 'dryRun')))
        throw new AgentError('USAGE', '--bundle installs; it does not go with --verify or --dry-run');
      if (isSet(options, 'verify')) return verify(context, connection.agent);
      if (isSet(options, 'dryRun')) return dryRun(context, connection.agent, kind);
      if (connection.isLocal) context.note('no agent is running: installing in this command');
      const wait = options['wait'] !== false || connection.isLocal;
      const request = {
        kind,
        ...(isSet(options, 'clean') ? { clean: true } : {}),
        ...(isSet(options, 'locked') ? { locked: true } : {}),
        ...(file === null ? {} : { bundle: resolve(context.host.workingDirectory, file) }),
      };
      const operation = await runOperation(context, connection, request, {
        verb: typed(kind, options),
        wait,
        timeoutMs: numberOf(options, 'timeout'),
      });
      if (context.json) context.printJson(operation);
      else if (!wait) context.print(`${operation.kind} was begun (${operation.id}); \`${context.commandLine(kind)}\` follows it`);
      else tell(context, operation, await settled(connection.agent));
      return ExitCode.done;
    });

const typed = (kind: string, options: Options): string =>
  `${kind}${isSet(options, 'clean') ? ' --clean' : ''}${isSet(options, 'locked') ? ' --locked' : ''}${textOf(options, 'bundle') === null ? '' : ` --bundle ${textOf(options, 'bundle')}`}`;

/** The result: the message of the operation, and what the release is made of when it is new. */
export function tell(context: Context, operation: OperationDocument, installation: InstallationDocument): void {
  context.print(operation.message);
  const isNew = operation.install !== null;
  if (isNew && !context.quiet) context.print(installationLines(installation, context));
}

/** The operation ends a moment before the documents tell of the new release. */
export async function settled(agent: Agent): Promise<InstallationDocument> {
  const never = new AbortController().signal;
  for (let look = 0; ; look++) {
    const document = await agent.installation();
    if (document.step === null || look === LOOKS) return document;
    await pause(LOOK_MS, never);
  }
}

async function verify(context: Context, agent: Agent): Promise<ExitCode> {
  const document = await agent.drift();
  if (context.json) context.printJson(document);
  else context.print(driftLines(document, context));
  return document.ok ? ExitCode.done : ExitCode.failed;
}

async function dryRun(context: Context, agent: Agent, kind: OperationKind): Promise<ExitCode> {
  const preview = await previewOf(agent, kind);
  if (context.json) context.printJson(preview);
  else context.print(previewLines(preview, context));
  // What is already right by what is obeyed may not be by what was refused.
  return preview.need === null && preview.holds.length > 0 ? ExitCode.held : ExitCode.done;
}

async function previewOf(agent: Agent, kind: OperationKind): Promise<InstallPreview> {
  const [plan, state, installation] = await Promise.all([agent.plan(), agent.state(), agent.installation()]);
  const action = plan.actions.find((each) => each.kind === 'install');
  const differs = plan.holds.find((hold) => hold.target === 'installation' && hold.code === 'INSTALLATION_DIFFERS');
  const desired = state.desired?.installation ?? null;
  const nothing = installation.release === null || !installation.ok ? (installation.reason ?? 'nothing is installed') : null;
  return {
    need: kind === 'reinstall' ? 'a new release was asked for' : (action?.reason ?? differs?.reason ?? nothing),
    current: installation.release?.id ?? null,
    source: desired?.source ?? null,
    packs: (desired?.packs ?? []).map(({ name, url, branch, commit }) => ({ name, url, branch, commit })),
    python:
      desired === null ? null : { interpreter: desired.python.interpreter, version: desired.python.version, torch: desired.python.torch },
    holds: plan.holds.filter((hold) => (hold.target === 'installation' || hold.target === 'configuration') && hold !== differs),
    warnings: [...installation.warnings],
  };
}

export const install = verb('install');
export const reinstall = verb('reinstall');
