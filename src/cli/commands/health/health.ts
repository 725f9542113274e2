import type { Agent } from '../../../domain/agent.ts';
import { AgentError } from '../../../domain/errors/errors.ts';
import type { ExitCode } from '../../../domain/errors/registry.ts';
import { withAgent } from '../../client/connect.ts';
import type { Command, Context } from '../../context.ts';
import { healthLines, instanceDetail, modelsLines } from '../../render/health.ts';
import { installationLines } from '../../render/installation.ts';
import { healthVerdict, installationVerdict, instanceVerdict, modelsVerdict } from './verdict.ts';

/** `agent health …`: the documents of the health routes, readable or as JSON, with their verdict as exit code. */
export const health: Command = (context, [what, reference]) => {
  if (reference !== undefined && what !== 'instance')
    throw new AgentError('USAGE', `a GPU is named with "instance": \`agent health instance ${reference}\``);
  if (what === 'instance' && reference === undefined)
    throw new AgentError('USAGE', 'which instance?', { help: 'name its GPU: `agent health instance 0`' });
  return withAgent(context, 'read', async ({ agent, isLocal }) => {
    if (isLocal && !context.json) context.note('no agent is running: this is one look from outside; nothing was asked of the instances');
    return show(context, agent, what, reference);
  });
};

async function show(context: Context, agent: Agent, what: string | undefined, reference: string | undefined): Promise<ExitCode> {
  switch (what) {
    case 'installation': {
      const document = await agent.installation();
      return tell(context, document, installationLines(document, context), installationVerdict(document));
    }
    case 'instances': {
      const document = await agent.instances();
      const lines = document.instances.flatMap((instance) => instanceDetail(instance, context));
      return tell(context, document, lines.length === 0 ? document.reasons : lines, document.ready ? 0 : 3);
    }
    case 'instance': {
      const document = await agent.instance((reference ?? '').replace(/^(comfyui-)?gpu(?=\d)/i, ''));
      return tell(context, document, instanceDetail(document, context), instanceVerdict(document));
    }
    case 'models': {
      const document = await agent.models();
      return tell(context, document, modelsLines(document, context), modelsVerdict(document));
    }
    default: {
      const document = await agent.health();
      return tell(context, document, healthLines(document, context), healthVerdict(document));
    }
  }
}

function tell(context: Context, document: object, lines: readonly string[], exitCode: ExitCode): ExitCode {
  if (context.json) context.printJson(document);
  else context.print(lines);
  return exitCode;
}
