import { readFileSync } from 'node:fs';
import { request } from 'node:http';
import { resolve } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { prepareCanary } from '../../../src/domain/instances/canary.ts';
import type { Comfy } from '../../../src/ports/comfyui.ts';
import { eventually } from '../eventually.ts';

const TIMEOUT_MS = 5_000;
/** A real server on a busy CPU takes its time for the first run. */
const JOB_LIMIT_MS = 60_000;
const canary = JSON.parse(readFileSync(resolve(import.meta.dirname, '../../../workflows/canary.json'), 'utf8')) as object;
const freshColor = (): number => Math.floor(Math.random() * 0x1000000);

export interface ContractSubject {
  readonly comfy: Comfy;
  readonly baseUrl: string;
  /** Speaks HTTP: false for the fake. */
  readonly wire: boolean;
  readonly version?: string;
  readonly protocol?: string;
  readonly close: () => Promise<void>;
}

/**
 * The ComfyUI contract: what the agent takes for granted of any ComfyUI, as tests of the enclosing `describe`. `open` is asked
 * once, before the first of them. The server must have nothing to do.
 */
export function comfyuiContract(open: () => Promise<ContractSubject>): void {
  let subject: ContractSubject;
  let comfy: Comfy;
  let baseUrl: string;
  beforeAll(async () => {
    subject = await open();
    ({ comfy, baseUrl } = subject);
  });
  afterAll(() => subject?.close());

  const run = async (graph: object) => {
    const { promptId } = await comfy.submit(baseUrl, graph, `contract-${crypto.randomUUID()}`, TIMEOUT_MS);
    const entry = await eventually('the job ends', () => comfy.history(baseUrl, promptId, TIMEOUT_MS), JOB_LIMIT_MS);
    return { promptId, entry };
  };
  const raw = (path: string, headers: Record<string, string> = {}) =>
    new Promise<number>((done, failed) => {
      request(`${baseUrl}${path}`, { headers }, (response) => {
        response.resume();
        done(response.statusCode ?? 0);
      })
        .on('error', failed)
        .end();
    });

  it('answers ping with the length of its queue', async () => {
    expect(await comfy.ping(baseUrl, TIMEOUT_MS)).toEqual({ queueRemaining: 0 });
  });

  it('keeps a WebSocket open', async () => {
    await comfy.webSocket(baseUrl, TIMEOUT_MS, 200);
  });

  it('gives memory back when it is asked to', async () => {
    await comfy.free(baseUrl, TIMEOUT_MS);
    expect(await comfy.ping(baseUrl, TIMEOUT_MS)).toEqual({ queueRemaining: 0 });
  });

  it('tells its queue', async () => {
    expect(await comfy.queue(baseUrl, TIMEOUT_MS)).toEqual({ running: 0, pending: 0, runningIds: [] });
  });

  it('tells what it runs on', async () => {
    const stats = await comfy.systemStats(baseUrl, TIMEOUT_MS);
    expect(stats.pythonVersion).toMatch(/^3\.\d+/);
    expect(stats.comfyuiVersion).toMatch(/^v?\d+\.\d+/);
    if (subject.version !== undefined) expect(stats.comfyuiVersion).toContain(subject.version);
    expect(stats.devices).toHaveLength(1);
    expect(stats.devices[0]).toEqual({
      name: expect.any(String),
      type: expect.stringMatching(/^(cpu|cuda)$/),
      vramTotal: expect.any(Number),
    });
  });

  it('lists its node classes by module', async () => {
    const classes = await comfy.nodeClasses(baseUrl, 30_000);
    expect(classes.get('nodes')).toEqual(
      expect.arrayContaining(['EmptyImage', 'PreviewImage', 'SaveImage', 'KSampler', 'CheckpointLoaderSimple']),
    );
    expect([...classes.values()].flat()).toContain('ImageBlur');
  });

  it('runs the canary: submitted, in the history, the picture is there, forgotten', async () => {
    const { promptId, entry } = await run(prepareCanary(canary, freshColor()));
    expect(entry).toEqual({
      completed: true,
      status: 'success',
      error: null,
      images: [{ filename: expect.stringMatching(/\.png$/), subfolder: '', type: 'temp' }],
    });
    const image = entry.images[0];
    if (image === undefined) throw new Error('no picture');
    const { contentType, bytes } = await comfy.view(baseUrl, image, TIMEOUT_MS);
    expect(contentType).toBe('image/png');
    expect([...bytes.subarray(0, 8)]).toEqual([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
    await comfy.forget(baseUrl, promptId, TIMEOUT_MS);
    expect(await comfy.history(baseUrl, promptId, TIMEOUT_MS)).toBeNull();
    expect(await comfy.ping(baseUrl, TIMEOUT_MS)).toEqual({ queueRemaining: 0 });
  });

  it('answers an equal graph from its cache, and runs one of another colour', async () => {
    const color = freshColor();
    const first = await run(prepareCanary(canary, color));
    const again = await run(prepareCanary(canary, color));
    const other = await run(prepareCanary(canary, color + 1));
    expect(again.promptId).not.toBe(first.promptId);
    expect(again.entry.images).toEqual(first.entry.images);
    expect(other.entry.images).not.toEqual(first.entry.images);
    for (const { promptId } of [first, again, other]) await comfy.forget(baseUrl, promptId, TIMEOUT_MS);
  });

  it.each([
    ['an unknown node class', { 1: { class_type: 'NoSuchNode', inputs: {} } }, 'invalid_prompt'],
    [
      'nothing to put out',
      { 1: { class_type: 'EmptyImage', inputs: { width: 64, height: 64, batch_size: 1, color: 0 } } },
      'prompt_no_outputs',
    ],
  ])('refuses a graph with %s, saying why', async (_what, graph, type) => {
    await expect(comfy.submit(baseUrl, graph, 'contract', TIMEOUT_MS)).rejects.toMatchObject({
      code: 'INSTANCE_FAILED',
      details: { kind: 'status', status: 400, type },
    });
  });

  it('names the node whose input is out of range', async ({ skip: skipTest }) => {
    if (!subject.wire) skipTest('the fake does not look at inputs');
    const graph = {
      a: { class_type: 'EmptyImage', inputs: { width: 0, height: 64, batch_size: 1, color: 0 } },
      b: { class_type: 'PreviewImage', inputs: { images: ['a', 0] } },
    };
    await expect(comfy.submit(baseUrl, graph, 'contract', TIMEOUT_MS)).rejects.toMatchObject({
      message: expect.stringMatching(/refused the prompt: .*node a \(EmptyImage\)/),
      details: { kind: 'status', status: 400, type: 'prompt_outputs_failed_validation', nodes: ['a'] },
    });
  });

  it('knows nothing of a prompt it never got', async () => {
    expect(await comfy.history(baseUrl, 'never-submitted', TIMEOUT_MS)).toBeNull();
    await comfy.forget(baseUrl, 'never-submitted', TIMEOUT_MS);
  });

  it('has no picture of a name it never gave', async () => {
    const view = comfy.view(baseUrl, { filename: 'never-made_00001_.png', subfolder: '', type: 'temp' }, TIMEOUT_MS);
    await expect(view).rejects.toMatchObject({ code: 'INSTANCE_FAILED', details: { kind: 'status', status: 404 } });
  });

  it('shows which WebSocket protocol it speaks', async () => {
    const protocol = await comfy.protocol(baseUrl, TIMEOUT_MS);
    expect(protocol).toBe(subject.protocol ?? protocol);
    expect(['fork', 'upstream']).toContain(protocol);
  });

  it('keeps pages of other origins out, and lets programs in', async ({ skip: skipTest }) => {
    if (!subject.wire) skipTest('no HTTP');
    expect(await raw('/prompt')).toBe(200);
    expect(await raw('/prompt', { origin: baseUrl })).toBe(200);
    expect(await raw('/prompt', { origin: 'http://elsewhere.example' })).toBe(403);
  });

  it('serves the same under /api', async ({ skip: skipTest }) => {
    if (!subject.wire) skipTest('no HTTP');
    expect(await raw('/api/prompt')).toBe(200);
    expect(await raw('/no-such-route')).toBe(404);
  });
}
