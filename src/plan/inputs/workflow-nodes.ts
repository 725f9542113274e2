type JsonRecord = Readonly<Record<string, unknown>>;
const isRecord = (value: unknown): value is JsonRecord => value !== null && typeof value === 'object' && !Array.isArray(value);

/** Nodes that only the editor knows: no server has such a class. */
const EDITOR_ONLY = /^(Note|MarkdownNote|Reroute|PrimitiveNode|GetNode|SetNode|.+ \(rgthree\))$/;
/** Set by the editor on nodes whose class the server had told it. */
const SERVER_PROPERTY = 'Node name for S&R';
/** Modes of the editor: 2 is muted, 4 is bypassed. */
const INACTIVE = [2, 4];

/**
 * Node classes that a graph needs of the server: of the API format, and of the editor's format with its subgraphs. Muted and
 * bypassed nodes need nothing. Anything else gives an empty list.
 */
export function classesOfGraph(graph: unknown): readonly string[] {
  if (!isRecord(graph)) return [];
  return [...new Set(Array.isArray(graph['nodes']) ? editorClasses(graph) : apiClasses(graph))].sort();
}

function apiClasses(graph: JsonRecord): string[] {
  // What is posted to /prompt has the graph below "prompt".
  const nodes = isRecord(graph['prompt']) ? graph['prompt'] : graph;
  return Object.values(nodes).flatMap((node) => (isRecord(node) && typeof node['class_type'] === 'string' ? [node['class_type']] : []));
}

const nodesOf = (part: JsonRecord): readonly JsonRecord[] => (Array.isArray(part['nodes']) ? part['nodes'].filter(isRecord) : []);
const isInactive = ({ mode }: JsonRecord): boolean => INACTIVE.includes(Number(mode ?? 0));

function editorClasses(graph: JsonRecord): string[] {
  const definitions = isRecord(graph['definitions']) ? graph['definitions'] : {};
  const subgraphs = Array.isArray(definitions['subgraphs']) ? definitions['subgraphs'].filter(isRecord) : [];
  const own = new Map(subgraphs.map((subgraph) => [subgraph['id'], subgraph]));
  // Only what is reached by active nodes: a subgraph that is bypassed or used nowhere needs nothing.
  const parts = new Set([graph]);
  for (const part of parts) {
    for (const node of nodesOf(part)) {
      const inner = isInactive(node) ? undefined : own.get(node['type']);
      if (inner !== undefined) parts.add(inner);
    }
  }
  const nodes = [...parts].flatMap(nodesOf);
  const isServers = (node: JsonRecord) => isRecord(node['properties']) && typeof node['properties'][SERVER_PROPERTY] === 'string';
  // Graphs of old editors have the property nowhere.
  const isTold = nodes.some(isServers);
  return nodes.flatMap((node) => {
    const { type } = node;
    if (typeof type !== 'string' || isInactive(node) || own.has(type) || /^workflow[>/]/.test(type)) return [];
    return EDITOR_ONLY.test(type) || (isTold && !isServers(node)) ? [] : [type];
  });
}
