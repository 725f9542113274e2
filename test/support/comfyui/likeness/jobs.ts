/** What a ComfyUI tells about jobs, over its WebSocket and afterwards, in a form in which two servers can be compared. */
import { eventually } from '../../eventually.ts';
import { ask, formOf } from './http.ts';

/** A pack with nodes for these tests: one waits until a file is there, one hands on what it gets, one fails. */
export const LIKENESS_PACK = `
import os
import time


def node(function, inputs, outputs=("INT",), output_node=False):
    class Node:
        RETURN_TYPES = outputs
        FUNCTION = "run"
        CATEGORY = "likeness"
        OUTPUT_NODE = output_node

        @classmethod
        def INPUT_TYPES(cls):
            return {"required": inputs}

        def run(self, **values):
            return function(**values)

    return Node


def wait(path):
    while not os.path.exists(path):
        time.sleep(0.01)
    return (1,)


def show(value):
    return {"ui": {"value": [value]}}


def fail(value):
    raise ValueError("this node fails")


NODE_CLASS_MAPPINGS = {
    "LikenessWait": node(wait, {"path": ("STRING", {"default": ""})}),
    "LikenessShow": node(show, {"value": ("INT", {"default": 1})}, (), True),
    "LikenessFail": node(fail, {"value": ("INT", {"default": 1})}, (), True),
}
`;

type Message = readonly [type: string, data: unknown];

export interface Listener {
  /** What a job is to name as its client. */
  readonly clientId: string;
  readonly messages: readonly { readonly type: string; readonly data?: Record<string, unknown> }[];
  readonly send: (message: object) => void;
  readonly close: () => void;
}

export async function listen(baseUrl: string): Promise<Listener> {
  const asked = `likeness-${crypto.randomUUID()}`;
  const socket = new WebSocket(`${baseUrl.replace('http', 'ws')}/ws?clientId=${asked}`);
  const messages: Listener['messages'][number][] = [];
  socket.addEventListener('message', ({ data }) => {
    if (typeof data === 'string') messages.push(JSON.parse(data) as Listener['messages'][number]);
  });
  // The fork gives out an id of its own before it tells its status.
  await eventually('a greeting', () => messages.some(({ type }) => type === 'status'));
  const minted = messages.find(({ type }) => type === 'client_id')?.data?.['client_id'];
  return {
    clientId: typeof minted === 'string' ? minted : asked,
    messages,
    send: (message) => socket.send(JSON.stringify(message)),
    close: () => socket.close(),
  };
}

/** Type and form of messages; lists in them are as long as they are. */
export const formsOf = (messages: Listener['messages']): readonly Message[] =>
  messages.map(({ type, data }) => [type, data === undefined ? 'no data' : formOf(data)]);

export interface JobOptions {
  /** Name no client: what concerns nobody goes to everybody. */
  readonly anonymous?: boolean;
  /** Done once the job runs. */
  readonly meanwhile?: (promptId: string) => Promise<unknown>;
}

/** One job from its submission to the end: messages, history, and what was seen meanwhile. */
export async function jobOf(baseUrl: string, graph: object, options: JobOptions = {}): Promise<Record<string, unknown>> {
  const listener = await listen(baseUrl);
  try {
    const client = options.anonymous === true ? {} : { client_id: listener.clientId };
    const submitted = await ask(baseUrl, ['POST', '/prompt', { prompt: graph, ...client }]);
    const { prompt_id: id } = submitted.body as { prompt_id: string };
    let meanwhile: unknown = null;
    if (options.meanwhile !== undefined) {
      await eventually('it runs', async () => queueOf((await ask(baseUrl, ['GET', '/queue'])).body).running === 1);
      meanwhile = await options.meanwhile(id);
    }
    const entry = await eventually(
      'the job ends',
      async () => ((await ask(baseUrl, ['GET', `/history/${id}`])).body as Record<string, unknown>)[id],
      60_000,
    );
    await eventually('all that is told of it has come', () =>
      options.anonymous === true
        ? isOver(listener.messages.filter(({ type }) => type === 'status').map(({ data }) => remaining(data)))
        : listener.messages.some(({ type, data }) => type === 'executing' && data?.['node'] === null),
    );
    const { status, ...rest } = entry as { status: { status_str: string; completed: boolean; messages: [string, object][] } };
    return {
      submitted: { ...submitted, body: formOf(submitted.body) },
      meanwhile,
      // How often the queue is told of depends on how fast things go.
      messages: formsOf(listener.messages.filter(({ type }) => type !== 'status')),
      status: formOf(listener.messages.findLast(({ type }) => type === 'status')?.data),
      history: formOf(rest),
      verdict: [status.status_str, status.completed],
      story: status.messages.map(([type, data]) => [type, formOf(data)]),
    };
  } finally {
    listener.close();
  }
}

/** It was in the queue, and is no longer. */
const isOver = (lengths: readonly unknown[]): boolean => lengths.some((length) => length !== 0) && lengths.at(-1) === 0;
const remaining = (data: Record<string, unknown> | undefined): unknown =>
  (data as { status?: { exec_info?: { queue_remaining?: number } } } | undefined)?.status?.exec_info?.queue_remaining;

/** How many run and wait, of an answer of /queue. */
export const queueOf = (body: unknown): { readonly running: number; readonly pending: number } => {
  const { queue_running: running, queue_pending: pending } = body as { queue_running: unknown[]; queue_pending: unknown[] };
  return { running: running.length, pending: pending.length };
};
