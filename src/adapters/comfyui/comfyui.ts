import { z } from 'zod';
import type { Comfy, ComfyHistoryEntry } from '../../ports/comfyui.ts';
import { type ComfyRequest, createSend, expectSuccess, fault, nameOf, sendForJson } from './request.ts';
import { askProtocol, holdWebSocket } from './websocket.ts';

/** Answers are read up to here. The queue holds whole graphs, /object_info a description of every node class. */
const SMALL = 256 * 1024;
const HISTORY_LIMIT = 16 * 1024 * 1024;
const LARGE = 64 * 1024 * 1024;
/** Enough of a picture to see what it is. */
const VIEW_BYTES = 64 * 1024;

// Permissive on purpose: only what is used is looked at, so that other versions and forks are understood as well.

const Prompt = z.object({ exec_info: z.object({ queue_remaining: z.int() }) });
const QueueItem = z.tuple([z.unknown(), z.string()], z.unknown()).transform((item) => item[1]);
const Queue = z.object({ queue_running: z.array(QueueItem), queue_pending: z.array(z.unknown()).transform((items) => items.length) });
const optionalText = z.string().nullish().catch(null);
const SystemStats = z.object({
  system: z.object({ comfyui_version: optionalText, python_version: optionalText, pytorch_version: optionalText }),
  devices: z
    .array(z.object({ name: z.string().catch('unknown'), type: z.string().catch('unknown'), vram_total: z.number().catch(0) }))
    .catch([]),
});
const ObjectInfo = z.record(z.string(), z.object({ python_module: z.string().catch('unknown') }));
const Submitted = z.object({ prompt_id: z.string() });
const Refusal = z.object({
  error: z.object({ type: z.string().catch('unknown'), message: z.string().catch(''), details: z.string().catch('') }),
  // An object by node id, or an empty list in the fork.
  node_errors: z
    .record(
      z.string(),
      z.object({
        class_type: z.string().catch('a node'),
        errors: z.array(z.object({ message: z.string().catch(''), details: z.string().catch('') })).catch([]),
      }),
    )
    .catch({}),
});
const FileReference = z.object({ filename: z.string(), subfolder: z.string().catch(''), type: z.string().catch('output') });
const HistoryEntry = z.object({
  outputs: z.record(z.string(), z.object({ images: z.array(FileReference).catch([]) }).catch({ images: [] })).catch({}),
  status: z.object({ status_str: z.string(), completed: z.boolean().catch(false), messages: z.array(z.unknown()).catch([]) }).nullish(),
});
const ExecutionError = z.object({
  node_type: optionalText,
  exception_type: optionalText,
  exception_message: z.string().catch('no message'),
});
const Message = z.tuple([z.string(), z.unknown()], z.unknown());

/** ComfyUI over HTTP and WebSocket. One client for all instances; each call has its own time limit. */
export function createComfy(): Comfy {
  const send = createSend();
  const get = <T>(baseUrl: string, path: string, timeoutMs: number, schema: z.ZodType<T>, limit: number): Promise<T> =>
    sendForJson(send, { method: 'GET', baseUrl, path, timeoutMs }, schema, limit);

  return {
    async ping(baseUrl, timeoutMs) {
      const { exec_info } = await get(baseUrl, '/prompt', timeoutMs, Prompt, SMALL);
      return { queueRemaining: exec_info.queue_remaining };
    },

    async queue(baseUrl, timeoutMs) {
      const { queue_running, queue_pending } = await get(baseUrl, '/queue', timeoutMs, Queue, LARGE);
      return { running: queue_running.length, pending: queue_pending, runningIds: queue_running };
    },

    async systemStats(baseUrl, timeoutMs) {
      const { system, devices } = await get(baseUrl, '/system_stats', timeoutMs, SystemStats, SMALL);
      return {
        comfyuiVersion: system.comfyui_version ?? null,
        pythonVersion: system.python_version ?? null,
        torchVersion: system.pytorch_version ?? null,
        devices: devices.map((device) => ({ name: device.name, type: device.type, vramTotal: device.vram_total })),
      };
    },

    async nodeClasses(baseUrl, timeoutMs) {
      // The schema drops all but the module, so the large document lives no longer than this call.
      const classes = await get(baseUrl, '/object_info', timeoutMs, ObjectInfo, LARGE);
      const byModule = Map.groupBy(Object.entries(classes), ([, { python_module }]) => python_module);
      return new Map([...byModule].map(([module, entries]) => [module, entries.map(([name]) => name)]));
    },

    async submit(baseUrl, graph, clientId, timeoutMs) {
      const request: ComfyRequest = { method: 'POST', baseUrl, path: '/prompt', timeoutMs, body: { prompt: graph, client_id: clientId } };
      const response = await send(request, SMALL);
      const document = parseJson(response.bytes);
      if (response.status === 400) {
        const refusal = Refusal.safeParse(document);
        if (refusal.success) throw refused(request, refusal.data);
      }
      expectSuccess(request, response);
      const submitted = Submitted.safeParse(document);
      if (!submitted.success) throw fault('body', `${nameOf(request)} did not tell the id of the prompt`);
      return { promptId: submitted.data.prompt_id };
    },

    async history(baseUrl, promptId, timeoutMs) {
      const entries = await get(
        baseUrl,
        `/history/${encodeURIComponent(promptId)}`,
        timeoutMs,
        z.record(z.string(), HistoryEntry),
        HISTORY_LIMIT,
      );
      const entry = entries[promptId];
      return entry === undefined ? null : toEntry(entry);
    },

    async forget(baseUrl, promptId, timeoutMs) {
      const request: ComfyRequest = { method: 'POST', baseUrl, path: '/history', timeoutMs, body: { delete: [promptId] } };
      expectSuccess(request, await send(request, SMALL));
    },

    async free(baseUrl, timeoutMs) {
      const body = { unload_models: true, free_memory: true };
      const request: ComfyRequest = { method: 'POST', baseUrl, path: '/free', timeoutMs, body };
      expectSuccess(request, await send(request, SMALL));
    },

    async view(baseUrl, file, timeoutMs) {
      const query = new URLSearchParams({ filename: file.filename, subfolder: file.subfolder, type: file.type });
      const request: ComfyRequest = { method: 'GET', baseUrl, path: `/view?${query}`, timeoutMs };
      const response = await send(request, VIEW_BYTES);
      expectSuccess(request, response);
      return { contentType: response.contentType, bytes: response.bytes };
    },

    webSocket: holdWebSocket,
    protocol: askProtocol,
  };
}

function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch {
    return null;
  }
}

/** A prompt that ComfyUI does not accept, with the first node it complains about. */
function refused(request: ComfyRequest, refusal: z.infer<typeof Refusal>) {
  const words = [refusal.error.message, refusal.error.details];
  for (const [id, node] of Object.entries(refusal.node_errors).slice(0, 1)) {
    words.push(`node ${id} (${node.class_type})`, ...node.errors.slice(0, 1).flatMap((error) => [error.message, error.details]));
  }
  const reason = words
    .filter((word) => word !== '')
    .join(': ')
    .slice(0, 500);
  return fault('status', `${nameOf(request)} refused the prompt: ${reason}`, {
    status: 400,
    type: refusal.error.type,
    nodes: Object.keys(refusal.node_errors),
  });
}

function toEntry(entry: z.infer<typeof HistoryEntry>): ComfyHistoryEntry {
  const images = Object.values(entry.outputs).flatMap((output) => output.images);
  // No status at all was written by old versions, which only kept what had succeeded.
  if (entry.status === null || entry.status === undefined) return { completed: true, status: 'success', error: null, images };
  const { status_str, completed, messages } = entry.status;
  const status = status_str === 'success' ? 'success' : 'error';
  return { completed, status, error: status === 'success' ? null : errorOf(messages), images };
}

function errorOf(messages: readonly unknown[]): ComfyHistoryEntry['error'] {
  for (const candidate of messages.toReversed()) {
    const message = Message.safeParse(candidate);
    if (!message.success) continue;
    const [type, data] = message.data;
    if (type === 'execution_interrupted') return { nodeType: null, exceptionType: null, message: 'it was interrupted' };
    const error = type === 'execution_error' ? ExecutionError.safeParse(data) : null;
    if (error?.success === true) {
      return {
        nodeType: error.data.node_type ?? null,
        exceptionType: error.data.exception_type ?? null,
        message: error.data.exception_message.trim(),
      };
    }
  }
  return { nodeType: null, exceptionType: null, message: 'no reason given' };
}
