import { AgentError, asAgentError } from '../../../../domain/errors/errors.ts';
import type { HostStep } from '../../../../domain/host/host.ts';
import type { Context } from '../../../context.ts';
import type { CliSystem } from '../../../host.ts';

/** One step after the other, each told when it is done. @throws AgentError of the step that failed, named; what was done stays */
export async function carryOutAll(context: Context, system: CliSystem, steps: readonly HostStep[]): Promise<void> {
  for (const [index, { action, what, why }] of steps.entries()) {
    try {
      await system.carryOut(action);
    } catch (thrown) {
      const { code, message, help, details } = asAgentError(thrown);
      throw new AgentError(code, `${what}: ${message}`, {
        help: `${help}; running it again goes on here`,
        details: { ...details, step: index + 1, steps: steps.length },
        cause: thrown,
      });
    }
    context.note(`${context.errorStyle.paint('good', context.errorStyle.symbols.good)} ${what} (${why})`);
  }
}
