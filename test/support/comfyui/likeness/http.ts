/** What a ComfyUI answers to the agent's questions and their neighbours, in a form in which two servers can be compared. */

const image = (color: number, width = 64) => ({ class_type: 'EmptyImage', inputs: { width, height: 64, batch_size: 1, color } });
const preview = (from: unknown) => ({ class_type: 'PreviewImage', inputs: { images: from } });

export type Question = readonly [method: string, path: string, body?: unknown, headers?: Readonly<Record<string, string>>];

const submit = (prompt: unknown, more: object = {}): Question => ['POST', '/prompt', { prompt, ...more }];

/** Answers of these are the same to the letter, numbers and all. */
const REFUSALS: Readonly<Record<string, Question>> = {
  'a list': ['POST', '/prompt', []],
  'no prompt': ['POST', '/prompt', {}],
  'no JSON': ['POST', '/prompt', 'this is no JSON'],
  'an empty prompt': submit({}),
  'an unknown class': submit({ 1: { class_type: 'NoSuchNode', inputs: {} } }),
  'no class': submit({ 1: { inputs: {} } }),
  'no output': submit({ 1: image(1) }),
  'a value out of range': submit({ a: image(1, 0), b: preview(['a', 0]) }),
  'a value of a wrong type': submit({ a: { ...image(1), inputs: { ...image(1).inputs, width: 'wide' } }, b: preview(['a', 0]) }),
  'an input that is missing': submit({ 1: { class_type: 'PreviewImage', inputs: {} } }),
  'a link to another type': submit({
    1: image(1),
    2: { class_type: 'VAEDecode', inputs: { samples: ['1', 0], vae: ['1', 0] } },
    3: preview(['2', 0]),
  }),
  'a link to nowhere': submit({ 1: preview(['9', 0]) }),
  'a model that is not there': submit({
    1: { class_type: 'CheckpointLoaderSimple', inputs: { ckpt_name: 'never-here.safetensors' } },
    2: { class_type: 'VAEDecode', inputs: { samples: ['1', 0], vae: ['1', 2] } },
    3: preview(['2', 0]),
  }),
};

/** Of these the form is the same: status, content type, keys and types. */
const QUESTIONS: readonly Question[] = [
  ['GET', '/prompt'],
  ['GET', '/api/prompt'],
  ['GET', '/queue'],
  ['GET', '/system_stats'],
  ['GET', '/features'],
  ['GET', '/history'],
  ['GET', '/history?max_items=1'],
  ['GET', '/history/never-submitted'],
  ['GET', '/object_info/NoSuchNode'],
  ['GET', '/models/checkpoints'],
  ['GET', '/models/no-such-folder'],
  ['GET', '/embeddings'],
  ['GET', '/view?filename=never-made.png&type=temp'],
  ['GET', '/view?filename=never-made.png&type=no-such-type'],
  ['GET', '/view?filename=../../etc/passwd&type=output'],
  ['GET', '/view'],
  ['GET', '/internal/logs'],
  ['GET', '/internal/logs/raw'],
  ['GET', '/api/internal/logs'],
  ['GET', '/no-such-route'],
  ['GET', '/'],
  ['GET', '/prompt/'],
  ['GET', '/history?max_items=many'],
  ['POST', '/upload/image', 'no form'],
  ['POST', '/no-such-route', {}],
  ['PUT', '/prompt', {}],
  ['HEAD', '/prompt'],
  ['POST', '/history', { delete: ['never-submitted'] }],
  ['POST', '/queue', { delete: ['never-submitted'] }],
  ['POST', '/queue', { clear: true }],
  ['POST', '/interrupt'],
  ['POST', '/free', { unload_models: true, free_memory: true }],
  ['GET', '/prompt', undefined, { origin: 'http://elsewhere.example' }],
  ['POST', '/free', {}, { origin: 'http://elsewhere.example' }],
];

const path = ([, of]: Question): string => of;

interface Answer {
  readonly status: number;
  readonly type: string | null;
  readonly headers: Readonly<Record<string, string | null>>;
  readonly body: unknown;
}

/** Those that tell what may be done next. */
const HEADERS = ['allow', 'cache-control', 'connection', 'expires', 'pragma'];

export async function ask(baseUrl: string, [method, path, body, headers]: Question): Promise<Answer> {
  const response = await fetch(`${baseUrl}${path}`, {
    method,
    headers: { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  });
  const text = await response.text();
  const type = response.headers.get('content-type');
  return {
    status: response.status,
    type,
    headers: Object.fromEntries(HEADERS.map((name) => [name, response.headers.get(name)])),
    body: type?.startsWith('application/json') && text !== '' ? (JSON.parse(text) as unknown) : text,
  };
}

/** Keys and types; lists by their first element. */
export function formOf(value: unknown): unknown {
  if (Array.isArray(value)) return value.slice(0, 1).map(formOf);
  if (value === null || typeof value !== 'object') return value === null ? null : typeof value;
  return Object.fromEntries(
    Object.keys(value)
      .sort()
      .map((key) => [key, formOf((value as Record<string, unknown>)[key])]),
  );
}

export async function answersOf(baseUrl: string): Promise<Record<string, unknown>> {
  const answers: Record<string, unknown> = {};
  for (const question of QUESTIONS) {
    const { body, ...rest } = await ask(baseUrl, question);
    const isOwn = path(question) === '/' || path(question).startsWith('/internal/logs');
    answers[JSON.stringify(question)] = { ...rest, body: isOwn || typeof body === 'object' ? formOf(body) : body };
  }
  return answers;
}

/** The refusals whole, but for explanations to people and for places in the program. */
export async function refusalsOf(baseUrl: string): Promise<Record<string, unknown>> {
  const answers: Record<string, unknown> = {};
  for (const [name, question] of Object.entries(REFUSALS)) {
    const { body, ...rest } = await ask(baseUrl, question);
    answers[name] = { ...rest, body: essence(body) };
  }
  return answers;
}

/** Texts for people are each program's own, and so are its tracebacks. */
const PERSONAL = new Set(['tooltip', 'description', 'output_tooltips', 'traceback']);

/** Without personal texts, without options that held nothing else, and with errors in one order: ComfyUI walks a set. */
function essence(value: unknown): unknown {
  if (Array.isArray(value)) {
    const items = value.map(essence);
    if (items.length === 2 && isEmpty(items[1])) return items.slice(0, 1);
    return items.every((item) => typeof item === 'object' && item !== null && 'details' in item)
      ? items.map((item) => JSON.stringify(item)).sort()
      : items;
  }
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([key]) => !PERSONAL.has(key))
      .map(([key, each]) => [key, essence(each)]),
  );
}

const isEmpty = (value: unknown): boolean =>
  value !== null && typeof value === 'object' && !Array.isArray(value) && Object.keys(value).length === 0;

/** /object_info of these classes, but for texts to people. */
export async function classesOf(baseUrl: string, names: readonly string[]): Promise<Record<string, unknown>> {
  const classes: Record<string, unknown> = {};
  for (const name of names) {
    const { body } = await ask(baseUrl, ['GET', `/object_info/${name}`]);
    classes[name] = essence((body as Record<string, unknown>)[name]);
  }
  return classes;
}
