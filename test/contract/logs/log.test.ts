import { spawnSync } from 'node:child_process';
import { mkdir, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createLogger } from '../../../src/adapters/logs/log.ts';
import { type TempRoot, tempRoot } from '../../support/temp-root.ts';

describe('the log of the agent', () => {
  let root: TempRoot;
  let file: string;
  beforeEach(async () => {
    root = await tempRoot();
    file = root.at('agent.log');
  });
  afterEach(() => root.remove());
  const lines = async (path = file): Promise<readonly Record<string, unknown>[]> =>
    (await readFile(path, 'utf8'))
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);

  it('writes one line of JSON each, from its level on, children with their facts', async () => {
    const { log, flush } = await createLogger({ level: 'info', file, maxFileMb: 1, keepFiles: 1, stderr: false });
    log.debug({ secretly: 1 }, 'too quiet');
    log.info({ gpu: 0 }, 'started');
    log.child({ part: 'git' }).warn({ url: 'u' }, 'slow');
    flush();
    log.error({}, 'after the flush');
    expect(await lines()).toMatchObject([
      { level: 30, gpu: 0, msg: 'started', time: expect.stringMatching(/^\d{4}-.*Z$/) },
      { level: 40, part: 'git', url: 'u', msg: 'slow' },
      { level: 50, msg: 'after the flush' },
    ]);
    expect((await stat(file)).mode & 0o007).toBe(0);
  });

  it('never writes secrets, however deep and in whatever spelling', async () => {
    const { log } = await createLogger({ level: 'debug', file, maxFileMb: 1, keepFiles: 1, stderr: false });
    const facts = {
      token: 'hunter2',
      headers: { Authorization: 'Bearer hunter2', accept: 'json' },
      deep: [{ environment: { AGENT_TOKEN: 'hunter2', AWS_SECRET_ACCESS_KEY: 'hunter2', HOME: '/root' } }],
      apiKey: 'hunter2',
      password: { value: 'hunter2' },
      secret: null,
    };
    log.info(facts, 'request');
    log.child({ clientSecret: 'hunter2' }).info({}, 'child');
    expect(await readFile(file, 'utf8')).not.toContain('hunter2');
    expect(await lines()).toMatchObject([
      { token: '***', headers: { Authorization: '***', accept: 'json' }, deep: [{ environment: { HOME: '/root' } }], secret: null },
      { clientSecret: '***' },
    ]);
    expect(facts.token).toBe('hunter2');
  });

  it('tells what an error was, under whatever name, and takes circles', async () => {
    const { log } = await createLogger({ level: 'info', file, maxFileMb: 1, keepFiles: 1, stderr: false });
    const circle: Record<string, unknown> = {};
    circle['self'] = circle;
    log.error({ cause: new TypeError('outer', { cause: new Error('inner') }), circle }, 'failed');
    expect(await lines()).toMatchObject([{ cause: { type: 'TypeError', message: 'outer', cause: 'inner', stack: expect.any(String) } }]);
  });

  it('keeps the file and one older within the size', async () => {
    const { log } = await createLogger({ level: 'info', file, maxFileMb: 0.01, keepFiles: 1, stderr: false });
    for (let n = 0; n < 400; n += 1) log.info({ n }, 'x'.repeat(60));
    for (const path of [file, `${file}.1`]) expect((await stat(path)).size).toBeLessThanOrEqual(0.01 * 1024 * 1024);
    const kept = [...(await lines(`${file}.1`)), ...(await lines())].map((line) => Number(line['n']));
    expect(kept.at(-1)).toBe(399);
    expect(kept).toEqual(kept.map((_, index) => (kept[0] ?? 0) + index));
    expect(kept.length).toBeGreaterThan(80);
  });

  it('goes on where it stopped, and over a rotation that fails', async () => {
    const options = { level: 'info', file, maxFileMb: 0.001, keepFiles: 1, stderr: false } as const;
    (await createLogger(options)).log.info({}, 'first run');
    await mkdir(`${file}.1`);
    const { log } = await createLogger(options);
    for (let n = 0; n < 30; n += 1) log.info({ n }, 'x'.repeat(60));
    expect(await lines()).toHaveLength(31);
    await rm(`${file}.1`, { recursive: true });
    log.info({}, 'rotated at last');
    expect(await lines()).toMatchObject([{ msg: 'rotated at last' }]);
    await rename(root.path, `${root.path}-gone`);
    for (let n = 0; n < 30; n += 1) log.info({ n }, 'x'.repeat(60));
    await rename(`${root.path}-gone`, root.path);
    log.info({}, 'back again');
    expect((await lines()).at(-1)).toMatchObject({ msg: 'back again' });
  });

  it('writes readable lines to stderr when asked', () => {
    const module = new URL('../../../src/adapters/logs/log.ts', import.meta.url).href;
    const script = `import(${JSON.stringify(module)}).then(async ({ createLogger }) => {
      const { log } = await createLogger({ level: 'info', file: ${JSON.stringify(file)}, maxFileMb: 1, keepFiles: 1, stderr: true });
      log.warn({ gpu: 1, token: 'hunter2', list: [1] }, 'a card is hot'); log.debug({}, 'quiet'); });`;
    const { stderr } = spawnSync(process.execPath, ['--no-warnings', '-e', script], { encoding: 'utf8' });
    expect(stderr).toMatch(/^\d\d:\d\d:\d\d warn {2}a card is hot {2}gpu=1 token=\*\*\*\n$/);
  });

  it('names the file that cannot be opened', async () => {
    await mkdir(root.at('in-its-place'));
    const opened = createLogger({ level: 'info', file: root.at('in-its-place'), maxFileMb: 1, keepFiles: 1, stderr: false });
    await expect(opened).rejects.toMatchObject({ code: 'ROOT_NOT_WRITABLE', message: expect.stringContaining(root.at('in-its-place')) });
  });

  it('keeps as many older files as asked', async () => {
    const file = root.at('agent.log');
    const { log } = await createLogger({ level: 'info', file, maxFileMb: 0.001, keepFiles: 3, stderr: false });
    for (let index = 0; index < 100; index++) log.info({ index }, 'x'.repeat(200));
    expect((await readdir(root.path)).sort()).toEqual(['agent.log', 'agent.log.1', 'agent.log.2', 'agent.log.3']);
    const index = async (name: string) =>
      (JSON.parse((await readFile(root.at(name), 'utf8')).split('\n')[0] ?? '') as { index: number }).index;
    expect(await index('agent.log.2')).toBeLessThan(await index('agent.log.1'));
    expect(await index('agent.log.1')).toBeLessThan(await index('agent.log'));
  });
});
