import type { Gpu, GpuReading } from '../../../src/domain/cards/gpu.ts';
import { Config, type ConfigInput } from '../../../src/domain/configuration/config.ts';
import type { Verdict } from '../../../src/domain/faults/verdict.ts';
import type { ProbeResult } from '../../../src/domain/health/health.ts';
import type { Release } from '../../../src/domain/installation/release.ts';
import type { DesiredInstance, Incarnation, InstanceLaunch, PortLease, ProcessState } from '../../../src/domain/instances/instance.ts';
import type { OwnerFacts } from '../../../src/domain/instances/ownership.ts';
import { known } from '../../../src/domain/observed.ts';
import { type DesiredState, Intents, type ObservedState } from '../../../src/domain/state/state.ts';
import { digestOf } from '../../../src/domain/text/digest.ts';
import { launchDigest } from '../../../src/plan/instances/launch.ts';
import type { Leaving } from '../../../src/plan/instances/leaving.ts';
import type { RestartVerdict } from '../../../src/plan/instances/restart-policy.ts';
import type { PlanInput, Planned } from '../../../src/plan/plan.ts';
import { installationSpec } from '../../../src/plan/resolve.ts';

/** The date on which all tests happen. */
export const NOW = Date.parse('2026-11-21T12:00:00.000Z');
export const at = (offsetMs: number): string => new Date(NOW + offsetMs).toISOString();

export const aConfig = (input: ConfigInput = {}): Config =>
  Config.parse({ root: '/workspace', gpu: { mode: 'mock', mockCount: 2 }, ...input });

export const aGpu = (index: number, change: Partial<Gpu> = {}): Gpu => ({
  index,
  driverIndex: change.index ?? index,
  uuid: `GPU-0000000${index}`,
  name: 'NVIDIA Test',
  memoryTotalBytes: 24 * 1024 ** 3,
  memoryUsedBytes: 0,
  driverVersion: '580.65.06',
  computeMode: 'Default',
  migMode: null,
  migDevices: [],
  partOf: null,
  temperatureC: 40,
  utilisationPercent: 0,
  pciBusId: `0000:0${index}:00`,
  state: 'ok',
  performanceState: 'P8',
  powerDrawWatts: 30,
  powerLimitWatts: 350,
  throttle: { hardwareThermal: false, softwareThermal: false, powerBrake: false, powerCap: false },
  ecc: { uncorrectedVolatile: 0, uncorrectedAggregate: 0, retirementPending: null, remapPending: false, remapFailed: false },
  recoveryAction: null,
  processes: [],
  ...change,
});

export const aReading = (...gpus: Gpu[]): GpuReading => ({ present: gpus.length > 0, gpus });

export const anInstance = (gpu: number, change: Partial<DesiredInstance> = {}): DesiredInstance => ({
  gpu,
  uuid: null,
  gpuName: 'mock GPU',
  name: `comfyui-gpu${gpu}`,
  mode: 'cpu',
  visibleDevices: '',
  desired: 'running',
  cordoned: false,
  draining: false,
  restartRequestedAt: null,
  drainBeforeRestart: false,
  quarantined: null,
  quarantine: null,
  ...change,
});

export const aProcess = (gpu: number, change: Partial<ProcessState> = {}): ProcessState => ({
  name: `comfyui-gpu${gpu}`,
  status: 'online',
  pid: 1_000 + gpu,
  respawns: 0,
  entryDigest: null,
  release: 'r1',
  tcpPort: null,
  startedAt: NOW - 60_000,
  ...change,
});

export const anIncarnation = (gpu: number, change: Partial<Incarnation> = {}): Incarnation => ({
  pid: 1_000 + gpu,
  startTicks: '77',
  startedAt: at(-60_000),
  ...change,
});

/** Nothing is left, nothing has ended, nobody is on the port. */
export const NO_OWNER_FACTS: OwnerFacts = { leftover: null, lastExit: null, stranger: null };

export const aLease = (gpu: number, tcpPort = 8188 + gpu, first = 8188): PortLease => ({ gpu, tcpPort, first, since: at(-100_000) });

export const aLaunch = (gpu: number, change: Partial<InstanceLaunch> = {}): InstanceLaunch => ({
  name: `comfyui-gpu${gpu}`,
  gpu,
  python: '/workspace/releases/r1/venv/bin/python',
  checkout: '/workspace/releases/r1/ComfyUI',
  arguments: ['--port', String(8188 + gpu)],
  environment: {},
  logFile: `/workspace/logs/comfyui-gpu${gpu}.log`,
  killTimeoutMs: 15_000,
  restartDelayMs: 250,
  release: 'r1',
  ...change,
});

export const aRelease = (config: Config = aConfig(), change: Partial<Release> = {}): Release => {
  const spec = installationSpec(config, []);
  return {
    schema: 1,
    id: 'r1',
    createdAt: at(-3_600_000),
    specDigest: digestOf(spec),
    lockDigest: null,
    spec,
    source: {
      repository: spec.source.repository,
      branch: spec.source.branch,
      commit: 'a'.repeat(40),
      fallback: false,
      fallbackReason: null,
    },
    comfyuiVersion: '0.3.12',
    pythonVersion: '3.11.7',
    torch: null,
    python: 'venv/bin/python',
    constraints: null,
    packs: [],
    flags: [],
    packages: {},
    warnings: [],
    validated: {
      at: at(-3_600_000),
      startMs: 3_000,
      canaryMs: 120,
      protocol: 'fork',
      nodeClasses: {},
      missingNodes: [],
      torchCuda: null,
      cuda: 'none',
    },
    durations: {},
    ...change,
  };
};

export const aProbeResult = (probe: string, outcome: ProbeResult['outcome'], change: Partial<ProbeResult> = {}): ProbeResult => ({
  probe,
  layer: 'runtime',
  incarnation: '1000@77',
  outcome,
  reason: outcome === 'pass' ? null : `${probe} ${outcome}`,
  at: NOW,
  durationMs: 1,
  ...change,
});

export const noRestarts = (): RestartVerdict => ({
  total: 0,
  inWindow: 0,
  lastReason: null,
  since: null,
  quarantine: null,
  backOffUntil: null,
  nextBacksOff: false,
});

/** A fault that blocks and asks for nothing. */
export const aVerdict = (change: Partial<Verdict> = {}): Verdict => ({
  fault: 'hang',
  reason: 'it does not answer',
  evidence: ['HTTP: no answer for 2000 ms'],
  since: at(-5_000),
  blocksReady: true,
  remedy: 'none',
  dueAt: null,
  next: 'nothing is done',
  ...change,
});

export const aLeaving = (why: Leaving['why'], change: Partial<Leaving> = {}): Leaving => ({
  why,
  since: NOW - 10_000,
  until: null,
  takesWork: false,
  idle: 'unknown',
  jobs: null,
  ...change,
});

/** Its queue as read now, long after it was told to take no work (which counts only while it is about to leave). */
export const withJobs = (jobs: number | null, change: Partial<HealthInput> = {}): HealthInput => ({
  starting: false,
  queue: { askedAt: NOW, jobs },
  leavingSince: NOW - 10_000,
  ...change,
});
type HealthInput = PlanInput['health'] extends ReadonlyMap<number, infer Value> ? Value : never;

/** A machine in order: two mock instances with release, leases and processes, as the planner sees it. */
export function aHealthyMachine(input: ConfigInput = {}, gpus = [0, 1]): PlanInput {
  const config = aConfig(input);
  const launches = new Map(gpus.map((gpu) => [gpu, aLaunch(gpu)]));
  const desired: DesiredState = {
    generation: 1,
    enabled: true,
    installation: installationSpec(config, []),
    specDigest: digestOf(installationSpec(config, [])),
    lockDigest: null,
    instances: gpus.map((gpu) => anInstance(gpu)),
    unused: [],
    missing: [],
    wanted: gpus.length,
    warnings: [],
  };
  const observed: ObservedState = {
    at: NOW,
    gpus: known(aReading()),
    machine: known({
      hostname: 'box',
      os: 'linux',
      kernel: '6',
      cpu: 'cpu',
      cores: 2,
      memoryTotalBytes: 1,
      memoryAvailableBytes: 1,
      diskFreeBytes: 1,
      diskTotalBytes: 1,
      diskFreeInodes: null,
      diskTotalInodes: null,
    }),
    processes: known(gpus.map((gpu) => aProcess(gpu, { entryDigest: launchDigest(aLaunch(gpu)) }))),
    incarnations: new Map(gpus.map((gpu) => [`comfyui-gpu${gpu}`, known(anIncarnation(gpu))])),
    release: known(aRelease(config)),
    releaseProblem: null,
    leases: gpus.map((gpu) => aLease(gpu)),
    portHolders: known([]),
    ownPids: new Set(gpus.map((gpu) => 1_000 + gpu)),
    models: known([]),
    leftovers: new Map(),
    unwantedQueues: new Map(),
    pm2: { state: 'answers', since: 0, reason: null },
    busy: new Set(),
  };
  return {
    config,
    desired,
    observed,
    intents: Intents.parse({}),
    launches,
    health: new Map(gpus.map((gpu) => [gpu, withJobs(0)])),
    unwanted: new Map(),
    verdicts: new Map(),
    freedFor: new Map(),
    exits: new Map(),
    failedInstallation: null,
    packList: { file: '/r/shared/config_nodes.json', owner: 'root', packs: [] },
    inputProblem: null,
    fileProblem: null,
    configurationProblem: null,
    rollout: null,
    unsaved: null,
    now: NOW,
  };
}

/** "install", "start-instance 0": what a plan does, for short assertions. */
export const actionsOf = (planned: Planned): string[] =>
  planned.actions.map((action) =>
    'gpu' in action ? `${action.kind} ${action.gpu}` : 'name' in action ? `${action.kind} ${action.name}` : action.kind,
  );

export const holdsOf = (planned: Planned): string[] => planned.holds.map((hold) => `${hold.target}: ${hold.code}`);
