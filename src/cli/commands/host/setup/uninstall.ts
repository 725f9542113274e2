import { Config } from '../../../../domain/configuration/config.ts';
import { AgentError } from '../../../../domain/errors/errors.ts';
import { ExitCode } from '../../../../domain/errors/registry.ts';
import type { SetupDocument } from '../../../../domain/host/host.ts';
import { layoutOf } from '../../../../plan/configuration/layout.ts';
import { planRemoval, removalQuestion } from '../../../../plan/host/removal.ts';
import type { Context } from '../../../context.ts';
import type { CliSystem } from '../../../host.ts';
import { stepLines } from '../../../render/host-steps.ts';
import { carryOutAll } from './carry-out.ts';

/** `agent setup --uninstall`: the way back. It tells what it leaves, and where. */
export async function uninstall(
  context: Context,
  system: CliSystem,
  { prefix, purge, yes, dryRun }: { readonly prefix: string; readonly purge: boolean; readonly yes: boolean; readonly dryRun: boolean },
): Promise<ExitCode> {
  const layout = await layoutNow(context);
  const wish = { layout, prefix, purge };
  const { steps, left } = planRemoval(wish, await system.facts(removalQuestion(wish)));
  if (purge && !yes && !dryRun)
    throw new AgentError('USAGE', `--purge deletes configuration, state, models and outputs below ${layout.root}`, {
      help: 'look with --dry-run, then confirm with --yes',
    });
  if (!dryRun) await carryOutAll(context, system, steps);
  const document: SetupDocument = {
    root: layout.root,
    done: !dryRun,
    steps: steps.map(({ what, why, how }) => ({ what, why, how })),
    notes: left.map((what) => `left: ${what}`),
  };
  if (context.json) {
    context.printJson(document);
    return ExitCode.done;
  }
  if (dryRun) context.print(stepLines(steps, context));
  else context.print(steps.length === 0 ? 'nothing is to be done: nothing of the agent is set up here' : 'removed');
  if (left.length > 0) context.print(['', 'what stays:', ...left.map((what) => `  ${what}`)]);
  return ExitCode.done;
}

/** A configuration that cannot be read must not keep anybody from removing it. */
async function layoutNow({ host, selection }: Context) {
  try {
    return (await host.readConfiguration(selection)).layout;
  } catch {
    const root = selection.flags.find(({ key }) => key === 'root')?.value;
    return layoutOf(Config.parse(typeof root === 'string' ? { root } : {}));
  }
}
