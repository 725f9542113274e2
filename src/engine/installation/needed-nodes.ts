import { classesOfGraph } from '../../plan/inputs/workflow-nodes.ts';
import { readWorkflows } from '../inputs/workflows.ts';
import type { InstallContext } from './context.ts';

/** Node classes that the graphs in workflows/ need, with the graphs that need them. What cannot be read needs nothing here: the survey of models tells of it. */
export async function neededNodes({
  ports,
  layout,
}: Pick<InstallContext, 'ports' | 'layout'>): Promise<ReadonlyMap<string, readonly string[]>> {
  const found = new Map<string, string[]>();
  for (const { name, graph } of (await readWorkflows(ports.files, layout.workflows)).graphs)
    for (const nodeClass of classesOfGraph(graph)) found.set(nodeClass, [...(found.get(nodeClass) ?? []), name]);
  return found;
}
