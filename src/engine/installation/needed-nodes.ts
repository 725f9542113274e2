import { classesOfGraph } from '../../plan/workflow-nodes.ts';
import { parseJson } from '../state-files.ts';
import type { InstallContext } from './context.ts';

const WORKFLOW_LIMIT_BYTES = 16 * 1024 * 1024;

/** Node classes that the graphs in workflows/ need, with the graphs that need them. What cannot be read needs nothing here: the survey of models tells of it. */
export async function neededNodes({
  ports,
  layout,
}: Pick<InstallContext, 'ports' | 'layout'>): Promise<ReadonlyMap<string, readonly string[]>> {
  const { files } = ports;
  const found = new Map<string, string[]>();
  for (const name of (await files.list(layout.workflows)).filter((each) => each.endsWith('.json')).sort()) {
    const path = `${layout.workflows}/${name}`;
    if (((await files.size(path)) ?? 0) > WORKFLOW_LIMIT_BYTES) continue;
    for (const nodeClass of classesOfGraph(parseJson((await files.readText(path)) ?? ''))) {
      found.set(nodeClass, [...(found.get(nodeClass) ?? []), name]);
    }
  }
  return found;
}
