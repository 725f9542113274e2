import { AgentError } from '../../src/domain/errors/errors.ts';
import type { Comfy, ComfyHistoryEntry } from '../../src/ports/comfyui.ts';

/**
 * What a server does: serves; `hung` accepts connections and never answers; `failing` answers 500 everywhere; `zombie`
 * accepts prompts that nobody runs (its worker thread is dead); `stuck` begins each job and never ends it.
 */
type FakeBehaviour = 'serving' | 'hung' | 'failing' | 'zombie' | 'stuck';

interface FakeServer {
  behaviour: FakeBehaviour;
  version: string;
  /** The one that /system_stats names. */
  device: { readonly name: string; readonly type: string };
  protocol: 'fork' | 'upstream';
  /** Jobs of others: they stay until the test takes them away. */
  readonly running: string[];
  readonly pending: string[];
  /** Each job fails with this from now on. */
  jobError: NonNullable<ComfyHistoryEntry['error']> | null;
  /** Node classes by python_module. */
  nodeClasses: ReadonlyMap<string, readonly string[]>;
  /** Whether /ws can be opened. */
  hasWebSocket: boolean;
  /** What /view gives. */
  picture: Uint8Array;
  /** Calls that reached it, in order: "ping", "submit", … */
  readonly calls: readonly string[];
  readonly submitted: readonly { readonly promptId: string; readonly graph: object; readonly clientId: string }[];
}

export interface FakeComfy {
  readonly comfy: Comfy;
  /** Starts a server, or answers with the one that is there. */
  serve(baseUrl: string): FakeServer;
  /** Nothing listens there any more, and its history is lost. */
  stop(baseUrl: string): void;
}

export interface FakeComfyOptions {
  /** Waits out a time limit; default: not at all, the limit is over at once. */
  readonly wait?: (ms: number) => Promise<void>;
}

const CORE_NODES = ['EmptyImage', 'ImageBlur', 'PreviewImage', 'SaveImage', 'LoadImage', 'CheckpointLoaderSimple', 'KSampler'];
const OUTPUT_NODES = ['PreviewImage', 'SaveImage'];
const PNG = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);

interface State extends FakeServer {
  readonly calls: string[];
  readonly submitted: { promptId: string; graph: object; clientId: string }[];
  readonly history: Map<string, ComfyHistoryEntry>;
  lastGraph: string;
  pictures: number;
}

/** ComfyUI servers in memory, by base URL. */
export function createFakeComfy(options: FakeComfyOptions = {}): FakeComfy {
  const servers = new Map<string, State>();
  let prompts = 0;

  async function reach(baseUrl: string, call: string, timeoutMs: number): Promise<State> {
    const server = servers.get(baseUrl);
    if (server === undefined) throw fault('refused', `${baseUrl}: nothing listens there`);
    server.calls.push(call);
    if (server.behaviour === 'hung') {
      await options.wait?.(timeoutMs);
      throw fault('timeout', `${baseUrl} got no answer within ${timeoutMs} ms`);
    }
    if (server.behaviour === 'failing') throw fault('status', `${baseUrl} answered 500`, { status: 500 });
    return server;
  }

  const comfy: Comfy = {
    ping: async (baseUrl, timeoutMs) => {
      const server = await reach(baseUrl, 'ping', timeoutMs);
      return { queueRemaining: server.running.length + server.pending.length };
    },
    queue: async (baseUrl, timeoutMs) => {
      const server = await reach(baseUrl, 'queue', timeoutMs);
      return { running: server.running.length, pending: server.pending.length, runningIds: [...server.running] };
    },
    systemStats: async (baseUrl, timeoutMs) => {
      const server = await reach(baseUrl, 'systemStats', timeoutMs);
      return {
        comfyuiVersion: server.version,
        pythonVersion: '3.11.7',
        torchVersion: '2.8.0+cpu',
        devices: [{ ...server.device, vramTotal: 1024 ** 3 }],
      };
    },
    nodeClasses: async (baseUrl, timeoutMs) => (await reach(baseUrl, 'nodeClasses', timeoutMs)).nodeClasses,
    submit: async (baseUrl, graph, clientId, timeoutMs) => {
      const server = await reach(baseUrl, 'submit', timeoutMs);
      const nodes = Object.values(graph) as { class_type?: string }[];
      const known = new Set([...server.nodeClasses.values()].flat());
      if (nodes.some((node) => node.class_type === undefined || !known.has(node.class_type))) throw refusal(baseUrl, 'invalid_prompt');
      if (!nodes.some((node) => OUTPUT_NODES.includes(node.class_type ?? ''))) throw refusal(baseUrl, 'prompt_no_outputs');
      const promptId = `prompt-${++prompts}`;
      server.submitted.push({ promptId, graph, clientId });
      enqueue(server, promptId, JSON.stringify(graph));
      return { promptId };
    },
    history: async (baseUrl, promptId, timeoutMs) => (await reach(baseUrl, 'history', timeoutMs)).history.get(promptId) ?? null,
    forget: async (baseUrl, promptId, timeoutMs) => {
      const server = await reach(baseUrl, 'forget', timeoutMs);
      server.history.delete(promptId);
    },
    free: async (baseUrl, timeoutMs) => {
      await reach(baseUrl, 'free', timeoutMs);
    },
    view: async (baseUrl, file, timeoutMs) => {
      const server = await reach(baseUrl, 'view', timeoutMs);
      const number = Number(/^fake_(\d+)_\.png$/.exec(file.filename)?.[1] ?? 0);
      if (number < 1 || number > server.pictures) throw fault('status', `${baseUrl}/view answered 404`, { status: 404 });
      return { contentType: 'image/png', bytes: server.picture };
    },
    webSocket: async (baseUrl, timeoutMs) => {
      const server = await reach(baseUrl, 'webSocket', timeoutMs);
      if (!server.hasWebSocket) throw fault('status', `GET ${baseUrl}/ws did not open a WebSocket`);
    },
    protocol: async (baseUrl, timeoutMs) => (await reach(baseUrl, 'protocol', timeoutMs)).protocol,
  };

  return {
    comfy,
    serve: (baseUrl) => {
      const server = servers.get(baseUrl) ?? newServer();
      servers.set(baseUrl, server);
      return server;
    },
    stop: (baseUrl) => void servers.delete(baseUrl),
  };
}

const newServer = (): State => ({
  behaviour: 'serving',
  version: '0.3.12',
  device: { name: 'cpu', type: 'cpu' },
  protocol: 'fork',
  running: [],
  pending: [],
  jobError: null,
  nodeClasses: new Map([['nodes', CORE_NODES]]),
  hasWebSocket: true,
  picture: PNG,
  calls: [],
  submitted: [],
  history: new Map(),
  lastGraph: '',
  pictures: 0,
});

/** Jobs run at once unless something is before them; an equal graph is answered from the cache with the same picture. */
function enqueue(server: State, promptId: string, graph: string): void {
  if (server.behaviour === 'zombie' || server.running.length > 0) return void server.pending.push(promptId);
  if (server.behaviour === 'stuck') return void server.running.push(promptId);
  if (server.jobError !== null)
    return void server.history.set(promptId, { completed: false, status: 'error', error: server.jobError, images: [] });
  if (graph !== server.lastGraph) server.pictures++;
  server.lastGraph = graph;
  const image = { filename: `fake_${server.pictures}_.png`, subfolder: '', type: 'temp' };
  server.history.set(promptId, { completed: true, status: 'success', error: null, images: [image] });
}

const fault = (kind: string, message: string, details: object = {}): AgentError =>
  new AgentError('INSTANCE_FAILED', message, { details: { ...details, kind } });

const refusal = (baseUrl: string, type: string): AgentError =>
  fault('status', `POST ${baseUrl}/prompt refused the prompt: ${type}`, { status: 400, type, nodes: [] });
