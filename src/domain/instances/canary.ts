import { z } from 'zod';
import { AgentError } from '../errors/errors.ts';

/** ComfyUI's API format: nodes by id. An input is a constant, or [id of the other node, number of its output]. */
export const ApiGraph = z
  .record(
    z.string(),
    z.looseObject({
      class_type: z.string().min(1),
      inputs: z.record(z.string(), z.unknown()),
    }),
  )
  .refine((graph) => Object.keys(graph).length > 0, 'a graph needs at least one node');
export type ApiGraph = z.infer<typeof ApiGraph>;

/** Colours of EmptyImage: 0 to 0xFFFFFF. */
const COLORS = 0x1000000;
/** Constants that may differ in each run without a change of meaning. */
const SEEDS = ['seed', 'noise_seed'];

/** @throws AgentError CONFIG_INVALID when it is no graph in API format, for instance one saved by the editor */
export function parseApiGraph(graph: unknown, name = 'the canary'): ApiGraph {
  const parsed = ApiGraph.safeParse(graph);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw new AgentError(
    'CONFIG_INVALID',
    `${name} is no graph in API format: ${issue?.path.join('.') ?? ''} ${issue?.message ?? ''}`.trim(),
    {
      help: "export it in ComfyUI with 'Workflow > Export (API)'",
    },
  );
}

/**
 * A copy of the graph that ComfyUI has not seen: its cache would answer an equal one without running a node. The number
 * becomes the colour of every EmptyImage and the seed of every sampler, taken modulo 2^24.
 * @throws AgentError CONFIG_INVALID when it is no graph in API format
 */
export function prepareCanary(graph: object, color: number): ApiGraph {
  const fresh = ((Math.trunc(color) % COLORS) + COLORS) % COLORS;
  return Object.fromEntries(
    Object.entries(parseApiGraph(graph)).map(([id, node]) => {
      const inputs = { ...node.inputs };
      if (node.class_type === 'EmptyImage') inputs['color'] = fresh;
      for (const seed of SEEDS) if (typeof inputs[seed] === 'number') inputs[seed] = fresh;
      return [id, { ...node, inputs }];
    }),
  );
}

/** Node classes the graph needs, sorted, each once. @throws AgentError CONFIG_INVALID when it is no graph in API format */
export const canaryNodeClasses = (graph: object): readonly string[] =>
  [...new Set(Object.values(parseApiGraph(graph)).map((node) => node.class_type))].sort();
