import type { Agent } from '../../domain/agent.ts';
import { AgentError } from '../../domain/errors/errors.ts';
import type { InstanceDocument } from '../../domain/instances/instance.ts';

/**
 * GPU arguments to indexes: `0`, `gpu0`, `comfyui-gpu0`, a UUID, or `all`. Null: all of them.
 * @throws AgentError INSTANCE_NOT_FOUND, USAGE
 */
export async function readGpus(agent: Agent, args: readonly string[]): Promise<readonly number[] | null> {
  if (args.length === 0) return null;
  if (args.includes('all')) {
    if (args.length > 1) throw new AgentError('USAGE', '"all" stands alone', { help: 'name the GPUs, or "all"' });
    return null;
  }
  const { instances } = await agent.instances();
  return [...new Set(args.map((reference) => find(instances, reference)))];
}

function find(instances: readonly InstanceDocument[], reference: string): number {
  const index = /^(?:comfyui-)?(?:gpu)?(\d{1,3})$/i.exec(reference)?.[1];
  const found = instances.find((instance) =>
    index === undefined ? instance.uuid?.toLowerCase() === reference.toLowerCase() : instance.gpu === Number(index),
  );
  if (found !== undefined) return found.gpu;
  const present = instances.map((instance) => instance.gpu).join(', ');
  throw new AgentError(
    'INSTANCE_NOT_FOUND',
    `there is no GPU ${reference}${present === '' ? '; no instance is known yet' : `; there ${instances.length === 1 ? 'is' : 'are'} ${present}`}`,
  );
}
