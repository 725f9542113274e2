import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { baseEnvironment, newRoot, runCli, stopAgents } from '../support/agent/agent.ts';
import { answersOf, ask, classesOf, formOf, refusalsOf } from '../support/comfyui/likeness/http.ts';
import { formsOf, jobOf, listen } from '../support/comfyui/likeness/jobs.ts';
import { logForm, missingIn } from '../support/comfyui/likeness/log.ts';
import { both, type PathFiles, programsOf, type Side, writePathFiles } from '../support/comfyui/likeness/sides.ts';
import { type ComfyuiOptions, type ComfyuiProcess, type ComfyuiProgram, runComfyui } from '../support/comfyui/process.ts';
import { realAgentOptions, realComfyui, stubWheels } from '../support/comfyui/real.ts';
import { eventually } from '../support/eventually.ts';

/**
 * The simulator beside the ComfyUI it imitates: the same questions to both, and the same answers. The tree is the one that
 * `agent install` makes of AGENT_REAL_COMFYUI_REPO, or the current release of AGENT_REAL_ROOT. What may differ is in
 * simulator/README.md.
 */

const real = realComfyui();
const givenRoot = process.env['AGENT_REAL_ROOT'];
const skipped = real === null && givenRoot === undefined;
if (skipped) console.log('skipped: neither AGENT_REAL_COMFYUI_REPO nor AGENT_REAL_ROOT is set');

const CLASSES = [
  ...['CLIPTextEncode', 'CheckpointLoaderSimple', 'EmptyImage', 'EmptyLatentImage', 'ImageBlur', 'ImageInvert', 'ImageScale'],
  ...['KSampler', 'LoadImage', 'PreviewImage', 'SaveImage', 'VAEDecode'],
];
/** The last line of start-up. */
const SERVES = 'To see the GUI';

const show = (from: string) => ({ class_type: 'LikenessShow', inputs: { value: [from, 0] } });
const wait = (path: string) => ({ class_type: 'LikenessWait', inputs: { path } });
const picture = (color: number) => ({
  1: { class_type: 'EmptyImage', inputs: { width: 64, height: 64, batch_size: 1, color } },
  2: { class_type: 'ImageBlur', inputs: { image: ['1', 0], blur_radius: 1, sigma: 1 } },
  3: { class_type: 'PreviewImage', inputs: { images: ['2', 0] } },
});

async function installedRoot(wheels: string): Promise<string> {
  if (givenRoot !== undefined) return givenRoot;
  if (real === null) throw new Error('no repository');
  const root = await newRoot();
  const { config, environment } = realAgentOptions(real, wheels, 1);
  await writeFile(join(root, 'agent.yaml'), stringify(config));
  const { code, stdout, stderr } = await runCli(root, { ...baseEnvironment(), ...environment }, ['install']);
  if (code !== 0) throw new Error(`agent install ended with ${code}:\n${stdout}${stderr}`);
  return root;
}

describe.skipIf(skipped)('the simulator beside the real ComfyUI', () => {
  let directory: string;
  let wheels: string;
  let paths: PathFiles;
  let programs: Record<Side, ComfyuiProgram>;
  const running = new Set<ComfyuiProcess>();

  const begin = async (side: Side, options: ComfyuiOptions = {}): Promise<ComfyuiProcess> => {
    const process = await runComfyui(programs[side], options);
    running.add(process);
    return process;
  };
  const endAll = async (): Promise<void> => {
    await Promise.all([...running].map((process) => process.remove()));
    running.clear();
  };

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'agent-likeness-'));
    wheels = await stubWheels();
    programs = await programsOf(await installedRoot(wheels), directory);
    paths = await writePathFiles(directory);
  });
  afterAll(async () => {
    await endAll();
    await stopAgents();
    for (const path of [directory, wheels]) if (path !== undefined) await rm(path, { recursive: true, force: true });
  });

  describe('that serves', () => {
    let servers: Record<Side, ComfyuiProcess>;
    const alike = async (look: (baseUrl: string, side: Side) => Promise<unknown>): Promise<void> => {
      const seen = await both((side) => look(servers[side].baseUrl, side));
      expect(seen.simulated).toEqual(seen.real);
    };
    const logOf = (side: Side): readonly string[] =>
      logForm(servers[side].stderr(), {
        [servers[side].directory]: 'OWN',
        [directory]: 'SHARED',
        [programs[side].checkout]: 'CHECKOUT',
        [String(servers[side].tcpPort)]: 'PORT',
      });

    beforeAll(async () => {
      servers = await both((side) => begin(side, { args: ['--extra-model-paths-config', paths.packs] }));
      await both((side) => servers[side].until(SERVES));
    });
    afterAll(endAll);

    it('says the same when it starts, and nothing on its standard output', async () => {
      expect(missingIn(logOf('real'), logOf('simulated'))).toEqual([]);
      expect(servers.simulated.stdout()).toBe(servers.real.stdout());
    });

    it('answers its routes with the same status, type and form', () => alike(answersOf));

    it('refuses the same prompts in the same words', () => alike(refusalsOf));

    it('describes its node classes alike', () => alike((baseUrl) => classesOf(baseUrl, [...CLASSES, 'LikenessShow'])));

    it.each([
      ['runs', picture(1)],
      ['is answered from the cache', picture(1)],
      ['fails', { 1: wait('/'), 2: { class_type: 'LikenessFail', inputs: { value: ['1', 0] } } }],
      ['shows what a pack puts out', { 1: wait('/'), 2: show('1') }],
    ])('tells the same of a job that %s', (_what, graph) => alike((baseUrl) => jobOf(baseUrl, graph)));

    it('tells everybody the same of a job of nobody', () => alike((baseUrl) => jobOf(baseUrl, picture(2), { anonymous: true })));

    it('has the same queue while a job runs and another waits, and deletes the one that waits', () =>
      alike((baseUrl, side) => {
        const gate = join(directory, `queue-${side}`);
        return jobOf(
          baseUrl,
          { 1: wait(gate), 2: show('1') },
          {
            meanwhile: async () => {
              const waiting = await ask(baseUrl, ['POST', '/prompt', { prompt: picture(3), client_id: 'another' }]);
              const { prompt_id: id } = waiting.body as { prompt_id: string };
              const full = formOf((await ask(baseUrl, ['GET', '/queue'])).body);
              const remaining = (await ask(baseUrl, ['GET', '/prompt'])).body;
              const deleted = (await ask(baseUrl, ['POST', '/queue', { delete: [id] }])).status;
              const after = (await ask(baseUrl, ['GET', '/prompt'])).body;
              await writeFile(gate, '');
              return { full, remaining, deleted, after };
            },
          },
        );
      }));

    it('ends an interrupted job alike', () =>
      alike((baseUrl, side) => {
        const gate = join(directory, `interrupt-${side}`);
        return jobOf(
          baseUrl,
          { 1: wait(gate), 2: show('1') },
          {
            meanwhile: async () => {
              const { status } = await ask(baseUrl, ['POST', '/interrupt']);
              await writeFile(gate, '');
              return status;
            },
          },
        );
      }));

    it('shows a picture with the same headers', () =>
      alike(async (baseUrl) => {
        const { body } = await ask(baseUrl, ['POST', '/prompt', { prompt: picture(4), client_id: 'nobody' }]);
        const { prompt_id: id } = body as { prompt_id: string };
        type Entry = { outputs: Record<string, { images: { filename: string }[] }> };
        const entry = await eventually(
          'the job ends',
          async () => ((await ask(baseUrl, ['GET', `/history/${id}`])).body as Record<string, Entry>)[id],
        );
        const name = entry.outputs['3']?.images[0]?.filename ?? '';
        const { status, headers } = await fetch(`${baseUrl}/view?filename=${name}&type=temp`);
        const disposition = headers.get('content-disposition')?.replace(name, 'NAME');
        return { name: name.replace(/_[a-z]{5}_/, '_LETTERS_'), status, type: headers.get('content-type'), disposition };
      }));

    it('takes the same messages over its WebSocket', () =>
      alike(async (baseUrl) => {
        const listener = await listen(baseUrl);
        listener.send({ type: 'feature_flags', data: {} });
        listener.send({ type: 'ping' });
        listener.send({ type: 'prompt', data: { prompt: {} } });
        listener.send({ type: 'prompt', data: {} });
        listener.send({ type: 'prompt', data: { prompt: { 1: { class_type: 'NoSuchNode', inputs: {} } } } });
        listener.send({ type: 'prompt', data: { prompt: { 1: wait('/'), 2: show('1') } } });
        // A job that comes later: when it has ended, all that was to be said is said.
        const job = { prompt: picture(5), client_id: listener.clientId };
        const { prompt_id: id } = (await ask(baseUrl, ['POST', '/prompt', job])).body as { prompt_id: string };
        await eventually('the job ends', () =>
          listener.messages.some(({ type, data }) => type === 'executing' && data?.['node'] === null && data['prompt_id'] === id),
        );
        listener.close();
        return formsOf(listener.messages.filter(({ type }) => !['status', 'progress_state'].includes(type)));
      }));

    it('has written the same log of all that', () => {
      const [ofReal, simulated] = [logOf('real'), logOf('simulated')];
      const jobs = (lines: readonly string[]): readonly string[] => lines.slice(lines.findIndex((line) => line.startsWith(SERVES)));
      expect(jobs(ofReal).length).toBeGreaterThan(CLASSES.length);
      expect([...jobs(simulated)].sort()).toEqual([...jobs(ofReal)].sort());
    });
  });

  describe('that ends', () => {
    interface Way {
      readonly options?: (side: Side) => Promise<ComfyuiOptions> | ComfyuiOptions;
      /** Once it serves; without it the process ends by itself. */
      readonly signal?: NodeJS.Signals;
      readonly busy?: boolean;
    }
    const taken = (): Promise<ComfyuiProcess> => begin('simulated', { args: ['--extra-model-paths-config', paths.packs] });
    const ways: Record<string, Way> = {
      'by SIGINT': { signal: 'SIGINT' },
      'by SIGINT in a job': { signal: 'SIGINT', busy: true },
      'by SIGTERM': { signal: 'SIGTERM' },
      'because the port is taken': {
        options: async () => {
          const holder = await taken();
          await holder.until(SERVES);
          return { tcpPort: holder.tcpPort };
        },
      },
      'because the port is none': { options: () => ({ tcpPort: 99_999 }) },
      'because of an unknown flag': { options: () => ({ args: ['--no-such-flag'] }) },
      'because the user directory is missing': { options: () => ({ args: ['--user-directory', '/nonexistent/user'] }) },
      'because the paths file is missing': { options: () => ({ args: ['--extra-model-paths-config', '/nonexistent/paths.yaml'] }) },
      'because a folder of packs is missing': {
        options: () => ({ args: ['--extra-model-paths-config', paths.nowhere] }),
      },
      'because the paths file has lists': { options: () => ({ args: ['--extra-model-paths-config', paths.lists] }) },
      'because a pack leaves': { options: () => ({ args: ['--extra-model-paths-config', paths.packs], environment: { LEAVE: 'yes' } }) },
      'because there is no CUDA': {
        options: (side) => ({ cpu: false, environment: side === 'real' ? {} : { SIM_NO_CUDA: 'true' } }),
      },
      'after a trial start': { options: () => ({ args: ['--quick-test-for-ci', '--extra-model-paths-config', paths.packs] }) },
    };

    it.each(Object.entries(ways))('%s ends alike', async (_name, { options, signal, busy = false }) => {
      const seen = await both(async (side) => {
        const process = await begin(side, (await options?.(side)) ?? { args: ['--extra-model-paths-config', paths.packs] });
        if (signal !== undefined) await process.until(SERVES);
        if (busy) {
          await ask(process.baseUrl, ['POST', '/prompt', { prompt: { 1: wait(join(directory, 'never')), 2: show('1') } }]);
          const queue = async (): Promise<unknown> => (await ask(process.baseUrl, ['GET', '/queue'])).body;
          await eventually('the job runs', async () => ((await queue()) as { queue_running: unknown[] }).queue_running.length === 1);
        }
        const end = signal === undefined ? await process.ended : await process.end(signal);
        const last = logForm(process.stderr(), {
          [process.directory]: 'OWN',
          [directory]: 'SHARED',
          [programs[side].checkout]: 'CHECKOUT',
          [String(process.tcpPort)]: 'PORT',
        }).at(-1);
        return { end, last, temp: existsSync(join(process.directory, 'temp/temp')), stdout: process.stdout() };
      });
      await endAll();
      expect(seen.simulated).toEqual(seen.real);
    });
  });
});
