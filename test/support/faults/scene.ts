import type { ChildProcess } from 'node:child_process';
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { HealthDocument } from '../../../src/domain/health/health.ts';
import type { InstanceDocument } from '../../../src/domain/instances/instance.ts';
import type { JournalEvent } from '../../../src/domain/journal.ts';
import { type AgentOptions, closeRoot, newRoot, startAgent, type TestAgent } from '../agent/agent.ts';
import { healthOf, replaceFile } from '../agent/scene.ts';
import type { FakeNvidiaSmi } from '../hardware/nvidia-smi.ts';
import { endExternalPm2, startExternalPm2 } from '../pm2/external.ts';
import { type Job, submitJob } from './jobs.ts';
import { readHiddenJournal, readJournal } from './journal.ts';
import type { Stranger } from './stranger.ts';

export interface Snapshot {
  readonly instances: readonly InstanceDocument[];
  readonly journalId: number;
}

export interface SceneOptions extends AgentOptions {
  readonly external?: boolean;
  /** Its state lies where only the agent sees it. */
  readonly hidden?: boolean;
}

/** A running agent, and the means to harm what belongs to it. Rows follow each other on one scene. */
export interface Scene {
  /** The present one: rows may replace it. */
  readonly agent: TestAgent;
  readonly root: string;
  readonly options: SceneOptions;
  readonly smi: FakeNvidiaSmi;
  /** The moment of the fault, on the clock of `performance.now()`. */
  struckAt: number;
  /** Names now as the moment of the fault. */
  strike(): void;
  /** Replaces the switches of one instance's simulator. */
  switches(gpu: number, values: Readonly<Record<string, unknown>>): Promise<void>;
  instance(gpu: number): Promise<InstanceDocument>;
  /** pid of an instance that has one. */
  pid(gpu: number): Promise<number>;
  health(): Promise<HealthDocument>;
  /** What the agent has written down since the snapshot of the row. */
  journal(): readonly JournalEvent[];
  snapshot(): Promise<Snapshot>;
  /** What the injection found out and the expectations need. */
  readonly notes: Map<string, number>;
  /** Submits a job to an instance; kept, so that `jobs` can be looked at afterwards. */
  job(gpu: number, options?: { readonly device?: boolean }): Promise<Job>;
  readonly jobs: Job[];
  /** To be left alone by the agent, and ended after the row. */
  stranger(who: Promise<Stranger>): Promise<Stranger>;
  readonly strangers: readonly Stranger[];
  /** SIGSTOP, with SIGCONT at the end of the row whatever happens. */
  freeze(pid: number): void;
  /** To be done at the end of the row, also when it fails. */
  after(what: () => unknown): void;
  pm2Pid(): Promise<number>;
  /** As its systemd unit does (external mode). */
  startPm2(): Promise<void>;
  killAgent(): Promise<void>;
  startAgentAgain(): Promise<void>;
  /** Ends what the row left. */
  endRow(): Promise<void>;
  close(): Promise<void>;
}

export async function openScene(options: SceneOptions): Promise<Scene> {
  const root = options.root ?? (await newRoot());
  const control = `${root}.control`;
  const daemons: ChildProcess[] = [];
  let strangers: Stranger[] = [];
  const cleanups: (() => unknown)[] = [];
  let snapshotId = 0;
  const journalAfter = (id: number): readonly JournalEvent[] =>
    options.hidden === true ? readHiddenJournal(`/proc/${agent.pid}/root${root}`, id) : readJournal(root, id);
  const startOptions: SceneOptions = {
    ...options,
    root,
    environment: { SIM_STARTUP_MS: '100', SIM_CONTROL_FILE: join(control, '$AGENT_INSTANCE.json'), ...options.environment },
  };
  const startPm2 = async (): Promise<void> => {
    daemons.push(await startExternalPm2(root));
  };
  if (options.external === true) await startPm2();
  let agent = await startAgent(startOptions);
  const endRow = async (): Promise<void> => {
    for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
    await Promise.all(strangers.map((stranger) => stranger.end()));
    strangers = [];
    scene.jobs.length = 0;
    scene.notes.clear();
    for (let gpu = 0; gpu < (options.cards?.count ?? options.gpus ?? 2); gpu++) await scene.switches(gpu, {});
  };
  const scene: Scene = {
    get agent() {
      return agent;
    },
    root,
    options: startOptions,
    get smi() {
      const smi = options.cards?.smi ?? null;
      if (smi === null) throw new Error('this stage has no driver');
      return smi;
    },
    struckAt: 0,
    strike: () => {
      scene.struckAt = performance.now();
    },
    switches: (gpu, values) => replaceFile(join(control, `comfyui-gpu${gpu}.json`), JSON.stringify(values)),
    instance: (gpu) => agent.instance(gpu),
    pid: async (gpu) => {
      const { pid } = await agent.instance(gpu);
      if (pid === null) throw new Error(`instance ${gpu} has no process`);
      return pid;
    },
    health: () => healthOf(agent),
    journal: () => journalAfter(snapshotId),
    snapshot: async () => {
      const { instances } = await healthOf(agent);
      snapshotId = journalAfter(0).at(-1)?.id ?? 0;
      return { instances, journalId: snapshotId };
    },
    job: async (gpu, jobOptions) => {
      const { url } = await agent.instance(gpu);
      const job = await submitJob(url ?? '', jobOptions);
      scene.jobs.push(job);
      return job;
    },
    jobs: [],
    notes: new Map(),
    stranger: async (who) => {
      const stranger = await who;
      strangers = [...strangers, stranger];
      return stranger;
    },
    get strangers() {
      return strangers;
    },
    freeze: (pid) => {
      process.kill(pid, 'SIGSTOP');
      scene.after(() => signal(pid, 'SIGCONT'));
    },
    after: (what) => void cleanups.push(what),
    pm2Pid: async () => Number(await readFile(join(root, 'state/pm2/pm2.pid'), 'utf8')),
    startPm2,
    killAgent: () => agent.kill(),
    startAgentAgain: async () => {
      agent = await startAgent({ ...startOptions, firstPort: agent.firstPort });
    },
    endRow,
    close: async () => {
      await endRow().catch(() => undefined);
      await closeRoot(root);
      for (const daemon of daemons) await endExternalPm2(daemon);
      await rm(control, { recursive: true, force: true });
      await options.cards?.close();
    },
  };
  return scene;
}

/** False: there is no such process any more. */
export function signal(pid: number, name: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, name);
  } catch {
    return false;
  }
}
