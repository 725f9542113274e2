import { ExitCode } from '../../../domain/errors/registry.ts';
import type { InstanceDocument, InstancePatch } from '../../../domain/instances/instance.ts';
import { requireAgent } from '../../client/connect.ts';
import type { Command } from '../../context.ts';
import { readGpus } from '../../grammar/gpu-arguments.ts';

/** cordon, uncordon, unquarantine: a wish written down for each instance; the agent acts on it by itself. */
const verb =
  (patch: InstancePatch, words: (instance: InstanceDocument) => string): Command =>
  async (context, args) => {
    const { agent } = await requireAgent(context);
    const gpus = (await readGpus(agent, args)) ?? (await agent.instances()).instances.map((instance) => instance.gpu);
    const documents: InstanceDocument[] = [];
    for (const gpu of gpus) documents.push(await agent.patchInstance(String(gpu), patch));
    if (context.json) context.printJson(documents);
    else context.print(documents.map((instance) => `gpu ${instance.gpu}  ${words(instance)}`));
    return ExitCode.done;
  };

export const cordon = verb(
  { cordoned: true },
  ({ queue }) =>
    `cordoned: it takes no new jobs${queue !== null && queue.running + queue.pending > 0 ? `; ${queue.running + queue.pending} still run or wait` : ''}`,
);
/** Also ends a drain, and starts again what a drain has stopped. */
export const uncordon = verb({ cordoned: false, drain: false }, () => 'uncordoned: it takes jobs again');
export const unquarantine = verb({ quarantined: false }, () => 'out of quarantine: it is started again');
