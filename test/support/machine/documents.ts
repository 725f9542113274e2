import type {
  HealthDocument,
  InstallationDocument,
  InstancesDocument,
  LivenessDocument,
  ModelsDocument,
  ReadyDocument,
} from '../../../src/domain/health/health.ts';
import type { Hold } from '../../../src/domain/hold.ts';
import { type InstallProgress, InstallStepName, type PackStatus } from '../../../src/domain/installation/release.ts';
import type { InstanceDocument, LayerHealth } from '../../../src/domain/instances/instance.ts';
import type { JournalEvent } from '../../../src/domain/journal.ts';
import type { OperationDocument } from '../../../src/domain/operation.ts';
import { at } from './builders.ts';

/** Documents as the agent serves them, realistic and valid; each builder takes what a test wants to be different. */

export const RELEASE = '20261121-110000-02a1b01a';

export const aPass = (change: Partial<LayerHealth> = {}): LayerHealth => ({
  status: 'pass',
  reason: null,
  checkedAt: at(-1_000),
  ...change,
});
export const aFail = (reason: string): LayerHealth => ({ status: 'fail', reason, checkedAt: at(-1_000) });
export const anUnknown = (reason: string): LayerHealth => ({ status: 'unknown', reason, checkedAt: null });

export const anInstanceDocument = (gpu = 0, change: Partial<InstanceDocument> = {}): InstanceDocument => ({
  gpu,
  uuid: `GPU-0000000${gpu}`,
  gpuName: 'NVIDIA Test',
  name: `comfyui-gpu${gpu}`,
  status: 'healthy',
  ready: true,
  url: `http://127.0.0.1:${8188 + gpu}`,
  wsUrl: `ws://127.0.0.1:${8188 + gpu}/ws`,
  host: '127.0.0.1',
  port: 8188 + gpu,
  pid: 4_700 + gpu,
  startedAt: at(-7_200_000),
  release: RELEASE,
  layers: { installation: aPass(), runtime: aPass(), functional: aPass(), models: aPass() },
  restarts: { total: 0, inWindow: 0, lastReason: null },
  cordoned: false,
  hold: null,
  queue: { running: 0, pending: 0 },
  warnings: [],
  verdicts: [],
  ...change,
});

/** What is known of a GPU before the cards were read. */
export const anUnseenInstance = (reference: string): InstanceDocument => {
  const layer = anUnknown('the GPUs were not looked at yet');
  return anInstanceDocument(/^\d+$/.test(reference) ? Number(reference) : 0, {
    uuid: /^\d+$/.test(reference) ? null : reference,
    gpuName: 'not seen',
    status: 'unknown',
    ready: false,
    url: null,
    wsUrl: null,
    host: null,
    port: null,
    pid: null,
    startedAt: null,
    release: null,
    layers: { installation: layer, runtime: layer, functional: layer, models: layer },
    queue: null,
  });
};

/** An instance that was killed and is coming back. */
export const aDeadInstance = (gpu = 0, change: Partial<InstanceDocument> = {}): InstanceDocument =>
  anInstanceDocument(gpu, {
    status: 'unhealthy',
    ready: false,
    pid: null,
    startedAt: null,
    queue: null,
    layers: {
      installation: aPass(),
      runtime: aFail('the process ended (signal SIGKILL); it is started again by itself, see `agent logs`'),
      functional: anUnknown('not asked while the process is down'),
      models: aPass(),
    },
    restarts: { total: 3, inWindow: 2, lastReason: 'exit signal SIGKILL' },
    ...change,
  });

export const aHold = (change: Partial<Hold> = {}): Hold => ({
  target: 'instance 1',
  code: 'PORT_HELD',
  reason: 'port 8189 is held by pid 991 (python3 -m http.server 8189)',
  help: 'stop the named process, choose another port, or set ports.onConflict to next',
  since: at(-300_000),
  ...change,
});

const configuration = { ok: true, problem: null, generation: 1 };

export const aLivenessDocument = (change: Partial<LivenessDocument> = {}): LivenessDocument => ({
  status: 'ok',
  version: '0.1.0',
  startedAt: at(-7_300_000),
  uptimeMs: 7_300_000,
  configuration,
  ...change,
});

export const aReadyDocument = (change: Partial<ReadyDocument> = {}): ReadyDocument => ({
  ready: true,
  capacity: '2/2',
  reasons: [],
  ...change,
});

export const aHealthDocument = (change: Partial<HealthDocument> = {}): HealthDocument => {
  const instances = change.instances ?? [anInstanceDocument(0), anInstanceDocument(1)];
  return {
    status: 'healthy',
    ready: true,
    capacity: `${instances.filter((instance) => instance.ready).length}/${instances.length}`,
    reasons: [],
    checkedAt: at(0),
    layers: { installation: aPass(), runtime: aPass(), functional: aPass(), models: aPass() },
    instances,
    holds: [],
    verdicts: [],
    configuration,
    ...change,
  };
};

export const anInstancesDocument = (change: Partial<InstancesDocument> = {}): InstancesDocument => {
  const instances = change.instances ?? [anInstanceDocument(0), anInstanceDocument(1)];
  return {
    ready: true,
    capacity: { ready: instances.filter((instance) => instance.ready).length, wanted: instances.length },
    reasons: [],
    instances,
    ...change,
  };
};

export const aPackStatus = (name = 'ComfyUI-Test', change: Partial<PackStatus> = {}): PackStatus => ({
  name,
  state: 'installed',
  url: `https://example.invalid/${name}.git`,
  commit: 'b'.repeat(40),
  source: null,
  error: null,
  quarantined: false,
  warnings: [],
  generated: [],
  altered: [],
  ...change,
});

const STEPS: readonly InstallStepName[] = InstallStepName.options;

/** An installation in the middle of the named step. */
export const anInstallProgress = (step: InstallStepName = 'packs', change: Partial<InstallProgress> = {}): InstallProgress => ({
  releaseId: RELEASE,
  step,
  steps: STEPS.map((name, index) => {
    const state = index < STEPS.indexOf(step) ? 'done' : name === step ? 'running' : 'pending';
    return {
      name,
      state,
      startedAt: state === 'pending' ? null : at(-60_000),
      durationMs: state === 'done' ? 4_000 : null,
      bytes: 0,
      cache: null,
      detail: null,
    };
  }),
  progress: 0.42,
  bytes: 734_003_200,
  etaMs: 95_000,
  packs: [aPackStatus('ComfyUI-One', { state: 'fetched' }), aPackStatus('ComfyUI-Two', { state: 'fetching', commit: null })],
  difference: null,
  activity: 'Receiving objects: 61 % (812/1331)',
  lastError: null,
  logFile: `/workspace/logs/install-${RELEASE}.log`,
  ...change,
});

export const anInstallationDocument = (change: Partial<InstallationDocument> = {}): InstallationDocument => ({
  status: 'installed',
  ok: true,
  reason: null,
  release: {
    id: RELEASE,
    createdAt: at(-3_600_000),
    repository: 'https://github.com/stakeordie/ComfyUI.git',
    branch: 'forward',
    commit: 'a'.repeat(40),
    comfyuiVersion: '0.3.12',
    pythonVersion: '3.11.7',
    torch: '2.7.1+cu128',
    fallback: false,
  },
  step: null,
  progress: 1,
  bytes: 0,
  etaMs: null,
  lastError: null,
  packs: [aPackStatus('ComfyUI-One'), aPackStatus('ComfyUI-Two')],
  warnings: [],
  operation: null,
  ...change,
});

export const aModelsDocument = (change: Partial<ModelsDocument> = {}): ModelsDocument => ({
  status: 'pass',
  reason: null,
  checkedAt: at(-30_000),
  required: 1,
  present: [
    { path: 'checkpoints/base.safetensors', state: 'present', requiredBy: ['models.required'], sizeBytes: 6_938_040_682, reason: null },
  ],
  missing: [],
  corrupt: [],
  ...change,
});

export const anOperationDocument = (change: Partial<OperationDocument> = {}): OperationDocument => ({
  id: 'restart-abc-1',
  kind: 'restart',
  target: 'instances',
  state: 'running',
  startedAt: at(-5_000),
  finishedAt: null,
  message: 'restarting 2 instances',
  progress: 0.5,
  install: null,
  error: null,
  ...change,
});

export const aJournalEvent = (id = 1, change: Partial<JournalEvent> = {}): JournalEvent => ({
  id,
  at: at(id * 1_000),
  type: 'instance.ready',
  target: 'instance 0',
  level: 'info',
  message: 'instance 0 is ready',
  data: {},
  ...change,
});
