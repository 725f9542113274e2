import type { Gpu } from '../../../src/domain/cards/gpu.ts';
import type { Files } from '../../../src/ports/files.ts';
import type { Ports } from '../../../src/ports.ts';
import { createFakeArchives } from '../../fakes/archives.ts';
import { createFakeAssets } from '../../fakes/assets.ts';
import { createFakeClock, type FakeClock } from '../../fakes/clock.ts';
import { createFakeComfy, type FakeComfy } from '../../fakes/comfy.ts';
import { createFakeFiles, type FakeFiles } from '../../fakes/files.ts';
import { createFakeGit, type FakeGitOptions, type FakeRepository } from '../../fakes/git.ts';
import { createFakeHardware, type FakeHardware } from '../../fakes/hardware.ts';
import { createFakeJournal, type FakeJournal } from '../../fakes/journal.ts';
import { createFakeKernel, type FakeKernel } from '../../fakes/kernel.ts';
import { createFakeKernelLog, type FakeKernelLog } from '../../fakes/kernel-log.ts';
import { fakeMetrics } from '../../fakes/metrics.ts';
import { createFakePm2, type FakePm2 } from '../../fakes/processes.ts';
import { createFakePython, type FakePython } from '../../fakes/python.ts';
import { createFakeShell, type FakeChild, type FakeShell } from '../../fakes/shell.ts';
import { createFakeSources, type FakeSourcesOptions } from '../../fakes/sources.ts';
import { createFakeTemplate, type FakeTemplate } from '../../fakes/template.ts';
import { createFakeUpkeep, type FakeUpkeep } from '../../fakes/upkeep.ts';

export const SIMULATOR_TREE = '/assets/simulator';

export interface WorldOptions {
  /** Real cards; absent: no driver. */
  readonly gpus?: readonly Gpu[];
  readonly repositories?: Record<string, FakeRepository>;
  /** Python packages: name -> versions. */
  readonly index?: Readonly<Record<string, readonly string[]>>;
}

/** Everything outside of the agent, in memory and tied together: a process that PM2 starts is seen by the kernel and serves. */
export interface World {
  readonly clock: FakeClock;
  readonly files: FakeFiles;
  readonly journal: FakeJournal;
  readonly pm2: FakePm2;
  readonly kernel: FakeKernel;
  readonly comfy: FakeComfy;
  readonly hardware: FakeHardware;
  readonly kernelLog: FakeKernelLog;
  readonly upkeep: FakeUpkeep;
  readonly shell: FakeShell;
  readonly python: FakePython;
  readonly template: FakeTemplate;
  readonly repositories: Record<string, FakeRepository>;
  /** Archives by URL and versions by registry id. */
  readonly archives: FakeSourcesOptions['archives'];
  readonly registry: FakeSourcesOptions['registry'];
  /** Called before each git operation: hold it, or throw. */
  beforeGit: FakeGitOptions['before'] | null;
  /** What a started process does: serves at once, or nothing. */
  boot: 'serve' | 'silent';
  /** Releases whose instances never serve, although their trial start did. */
  silent: (release: string) => boolean;
  /** Packs that do not import. */
  readonly broken: Set<string>;
  /** Node classes that packs bring when they are loaded. */
  readonly classes: Map<string, readonly string[]>;
  /** The ports of one agent; each has a PM2 client of its own. */
  ports(): Ports;
  /** Processes of PM2 that run, by name. */
  running(): ReadonlyMap<string, { readonly pid: number; readonly tcpPort: number }>;
}

const portOf = (args: readonly string[]): number => Number(args[args.indexOf('--port') + 1]);
export const urlOf = (tcpPort: number): string => `http://127.0.0.1:${tcpPort}`;

export async function createWorld(options: WorldOptions = {}): Promise<World> {
  const clock = createFakeClock();
  const now = () => clock.now();
  const files = createFakeFiles(now);
  files.put(`${SIMULATOR_TREE}/main.py`, 'print("simulator")');
  files.put(`${SIMULATOR_TREE}/comfyui_version.py`, '__version__ = "0.3.12"');
  const journal = createFakeJournal();
  const kernel = createFakeKernel({ now, jumped: () => clock.jumped });
  const comfy = createFakeComfy({ wait: (ms) => clock.sleep(ms) });
  const hardware = createFakeHardware(options.gpus ?? null);
  const kernelLog = createFakeKernelLog({ now });
  const pm2 = createFakePm2({ now, later: (delayMs, work) => void clock.sleep(delayMs).then(work) });
  const running = new Map<string, { readonly pid: number; readonly tcpPort: number }>();
  const upkeep = createFakeUpkeep();
  const shell = createFakeShell((child) => comfy.stop(urlOf(portOf(child.args))));
  const template = createFakeTemplate();
  const repositories = options.repositories ?? {};
  const archives: FakeSourcesOptions['archives'] = {};
  const registry: FakeSourcesOptions['registry'] = {};
  const broken = new Set<string>();
  const classes = new Map<string, readonly string[]>();

  // Git and Python write whole trees; the engine itself has no such help.
  const withParents: Files = {
    ...files,
    writeText: async (path, content, mode) => {
      await files.ensureDirectory(path.slice(0, path.lastIndexOf('/')));
      await files.writeText(path, content, mode);
    },
  };
  const python = createFakePython({
    index: options.index ?? {},
    readText: (path) => files.readText(path),
    writeText: (path, text) => withParents.writeText(path, text),
    onCreate: async (interpreter) => files.put(interpreter, ''),
  });
  const git = createFakeGit({ repositories, files: withParents, before: (operation, source) => world.beforeGit?.(operation, source) });
  const sources = createFakeSources({ files: withParents, archives, registry });

  const observer = pm2.client();
  await observer.connect();
  observer.onEvent((event) => {
    if (event.kind === 'online') {
      const entry = pm2.entry(event.name);
      if (entry === null) return;
      const pid = Math.max(...pm2.pids());
      const tcpPort = portOf(entry.args);
      running.set(event.name, { pid, tcpPort });
      const serves = world.boot === 'serve' && !world.silent(entry.env['AGENT_RELEASE'] ?? '');
      kernel.add({ pid, environment: entry.env, command: `python main.py --port ${tcpPort}`, listens: serves ? [tcpPort] : [] });
      if (serves) comfy.serve(urlOf(tcpPort));
    } else if (event.kind === 'exit') {
      const gone = running.get(event.name);
      if (gone === undefined) return;
      running.delete(event.name);
      kernel.remove(gone.pid);
      comfy.stop(urlOf(gone.tcpPort));
    }
  });
  shell.onSpawn((child) => void playTrial(child));

  /** The trial start: loads what lies in custom_nodes, then serves. */
  async function playTrial(child: FakeChild): Promise<void> {
    const nodes = `${child.options.cwd}/custom_nodes`;
    child.line('Starting ComfyUI');
    const packs = await files.list(nodes);
    for (const pack of packs.filter((name) => broken.has(name)))
      child.line(`Cannot import ${nodes}/${pack} module for custom nodes: No module named 'missing'`);
    if (packs.length > 0) child.line('Import times for custom nodes:');
    for (const pack of packs) child.line(`   0.1 seconds${broken.has(pack) ? ' (IMPORT FAILED)' : ''}: ${nodes}/${pack}`);
    child.line('Starting server');
    const server = comfy.serve(urlOf(portOf(child.args)));
    const brought = packs
      .filter((name) => !broken.has(name))
      .map((name): [string, readonly string[]] => [`custom_nodes.${name}`, classes.get(name) ?? []]);
    server.nodeClasses = new Map([...server.nodeClasses, ...brought.filter(([, names]) => names.length > 0)]);
  }

  const world: World = {
    clock,
    files,
    journal,
    pm2,
    kernel,
    comfy,
    hardware,
    kernelLog,
    upkeep,
    shell,
    python,
    template,
    repositories,
    archives,
    registry,
    beforeGit: null,
    boot: 'serve',
    silent: () => false,
    broken,
    classes,
    running: () => running,
    ports: () => ({
      clock,
      shell: shell.shell,
      processes: pm2.client(),
      template,
      kernel: kernel.kernel,
      hardware: hardware.hardware,
      kernelLog: kernelLog.kernelLog,
      git,
      sources,
      python,
      comfy: comfy.comfy,
      files,
      archives: createFakeArchives(withParents),
      journal,
      assets: createFakeAssets(SIMULATOR_TREE),
      metrics: fakeMetrics,
      upkeep: upkeep.upkeep,
    }),
  };
  return world;
}
