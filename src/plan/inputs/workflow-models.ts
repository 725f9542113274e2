import { categoryFolders } from './model-categories.ts';

/** A model file that a graph names. */
export interface NamedModel {
  /** As the node names it, relative to its category's folder, with `/`. */
  readonly name: string;
  /** ComfyUI's category; null when it is not known for this node. */
  readonly category: string | null;
  /** Folders below the models directory where the file may lie; empty when the category is not known. */
  readonly folders: readonly string[];
  /** Node class that loads it. */
  readonly nodeClass: string;
}

const MODEL_FILE = /\.(safetensors|sft|ckpt|pt|pt2|pth|bin|gguf|onnx|pkl)$/i;

/** Categories by input name, for core nodes and the many packs that took the names over. */
const BY_INPUT: readonly (readonly [input: RegExp, category: string])[] = [
  [/^ckpt_name$/, 'checkpoints'],
  [/^lora_name(_?\d+)?$/, 'loras'],
  [/^lora_\d+(_name)?$/, 'loras'],
  [/^vae_name$/, 'vae'],
  [/^unet_name$/, 'diffusion_models'],
  [/^clip_name\d*$/, 'text_encoders'],
  [/^text_encoder(_name)?\d*$/, 'text_encoders'],
  [/^control_net_name$/, 'controlnet'],
  [/^style_model_name$/, 'style_models'],
  [/^gligen_name$/, 'gligen'],
  [/^hypernetwork_name$/, 'hypernetworks'],
  [/^photomaker_model_name$/, 'photomaker'],
  [/^audio_encoder_name$/, 'audio_encoders'],
];

/** Node classes whose category does not follow from the input's name, or that have one model only. */
const BY_CLASS: Readonly<Record<string, string>> = {
  CheckpointLoader: 'checkpoints',
  CheckpointLoaderSimple: 'checkpoints',
  ImageOnlyCheckpointLoader: 'checkpoints',
  unCLIPCheckpointLoader: 'checkpoints',
  CLIPVisionLoader: 'clip_vision',
  CLIPLoader: 'text_encoders',
  CLIPLoaderGGUF: 'text_encoders',
  DualCLIPLoader: 'text_encoders',
  DualCLIPLoaderGGUF: 'text_encoders',
  TripleCLIPLoader: 'text_encoders',
  QuadrupleCLIPLoader: 'text_encoders',
  ControlNetLoader: 'controlnet',
  DiffControlNetLoader: 'controlnet',
  GLIGENLoader: 'gligen',
  HypernetworkLoader: 'hypernetworks',
  LoraLoader: 'loras',
  LoraLoaderModelOnly: 'loras',
  ModelPatchLoader: 'model_patches',
  AudioEncoderLoader: 'audio_encoders',
  PhotoMakerLoader: 'photomaker',
  StyleModelLoader: 'style_models',
  UNETLoader: 'diffusion_models',
  UnetLoaderGGUF: 'diffusion_models',
  UpscaleModelLoader: 'upscale_models',
  VAELoader: 'vae',
};

/**
 * Model files that a graph needs, each once: of the API format (nodes by id, with named inputs) and of the editor's format
 * 0.4 (a list of nodes with widget values, sub-graphs included). Muted and bypassed nodes need nothing. Anything else
 * gives an empty list.
 */
export function modelsOfGraph(graph: unknown): NamedModel[] {
  const found = new Map<string, NamedModel>();
  for (const { nodeClass, input, value } of isRecord(graph) && Array.isArray(graph['nodes']) ? editorValues(graph) : apiValues(graph)) {
    if (!MODEL_FILE.test(value)) continue;
    const name = value.replaceAll('\\', '/');
    // Links to files are fetched by the node itself, and absolute paths are none of the models directory.
    if (/^[a-z][a-z0-9+.-]+:\/\//i.test(name) || name.split('/').includes('..')) continue;
    const category = categoryOf(nodeClass, input);
    found.set(`${category}\0${name}`, { name, category, folders: category === null ? [] : categoryFolders(category), nodeClass });
  }
  return [...found.values()];
}

interface NodeValue {
  readonly nodeClass: string;
  /** Null where the editor's format tells only the value. */
  readonly input: string | null;
  readonly value: string;
}

type JsonRecord = Readonly<Record<string, unknown>>;
const isRecord = (value: unknown): value is JsonRecord => value !== null && typeof value === 'object' && !Array.isArray(value);

function categoryOf(nodeClass: string, input: string | null): string | null {
  const byClass = Object.hasOwn(BY_CLASS, nodeClass) ? (BY_CLASS[nodeClass] ?? null) : null;
  return byClass ?? (input === null ? null : (BY_INPUT.find(([pattern]) => pattern.test(input))?.[1] ?? null));
}

function apiValues(graph: unknown): NodeValue[] {
  if (!isRecord(graph)) return [];
  // What is posted to /prompt has the graph below "prompt".
  const nodes = isRecord(graph['prompt']) ? graph['prompt'] : graph;
  return Object.values(nodes).flatMap((node) => {
    if (!isRecord(node) || typeof node['class_type'] !== 'string' || !isRecord(node['inputs'])) return [];
    const nodeClass = node['class_type'];
    return Object.entries(node['inputs']).flatMap(([input, value]) => texts(value).map((text) => ({ nodeClass, input, value: text })));
  });
}

/** Packs with several LoRAs in one node write objects: `{"on": true, "lora": "a.safetensors"}`. */
function texts(value: unknown): string[] {
  if (typeof value === 'string') return [value];
  if (isRecord(value) && value['on'] !== false) return Object.values(value).filter((member) => typeof member === 'string');
  return [];
}

/** Modes of the editor: 2 is muted, 4 is bypassed. */
const INACTIVE = [2, 4];

function editorValues(graph: JsonRecord): NodeValue[] {
  const subgraphs =
    isRecord(graph['definitions']) && Array.isArray(graph['definitions']['subgraphs']) ? graph['definitions']['subgraphs'] : [];
  return [graph, ...subgraphs.filter(isRecord)].flatMap(({ nodes }) =>
    Array.isArray(nodes) ? nodes.filter(isRecord).flatMap(editorNodeValues) : [],
  );
}

function editorNodeValues(node: JsonRecord): NodeValue[] {
  const { type, mode, widgets_values: values } = node;
  if (typeof type !== 'string' || INACTIVE.includes(Number(mode ?? 0))) return [];
  if (isRecord(values))
    return Object.entries(values).flatMap(([input, value]) => texts(value).map((text) => ({ nodeClass: type, input, value: text })));
  if (!Array.isArray(values)) return [];
  const names = widgetNames(node);
  // Names are known only when there are as many as values; "control after generate" has a value and no name.
  return values.flatMap((value: unknown, index) =>
    texts(value).map((text) => ({ nodeClass: type, input: names.length === values.length ? (names[index] ?? null) : null, value: text })),
  );
}

const widgetNames = ({ inputs }: JsonRecord): string[] =>
  Array.isArray(inputs)
    ? inputs.filter(isRecord).flatMap(({ widget }) => (isRecord(widget) && typeof widget['name'] === 'string' ? [widget['name']] : []))
    : [];
