import type {
  ConfigDocument,
  GpusDocument,
  PortsDocument,
  ReleasesDocument,
  StatusDocument,
  VersionDocument,
} from '../../../src/domain/agent.ts';
import type { MachineFacts } from '../../../src/domain/cards/gpu.ts';
import type { DoctorDocument } from '../../../src/domain/doctor/doctor.ts';
import type { DriftDocument } from '../../../src/domain/installation/drift.ts';
import type { DiscoveryDocument, PrometheusTargets } from '../../../src/domain/instances/discovery.ts';
import type { StateDocument } from '../../../src/domain/state/state.ts';
import { aGpu, aProcess, aRelease, at } from './builders.ts';
import { aHealthDocument, RELEASE } from './documents.ts';

/** The machine around the instances: discovery, status, cards, ports, releases, configuration. */

export const aDiscoveryDocument = (change: Partial<DiscoveryDocument> = {}): DiscoveryDocument => ({
  schema: 1,
  machine: 'gpu-box-7',
  generatedAt: at(0),
  release: RELEASE,
  capacity: { ready: 2, wanted: 2 },
  instances: [0, 1].map((gpu) => ({
    gpu,
    uuid: `GPU-0000000${gpu}`,
    name: `comfyui-gpu${gpu}`,
    ready: true,
    host: '127.0.0.1',
    port: 8188 + gpu,
    url: `http://127.0.0.1:${8188 + gpu}`,
    wsUrl: `ws://127.0.0.1:${8188 + gpu}/ws`,
    protocol: 'fork' as const,
    comfyuiVersion: '0.3.12',
    since: at(-7_100_000),
  })),
  ...change,
});

export const somePrometheusTargets = (): PrometheusTargets => [
  { targets: ['127.0.0.1:9090'], labels: { machine: 'gpu-box-7', job: 'comfylet' } },
];

export const someMachineFacts = (change: Partial<MachineFacts> = {}): MachineFacts => ({
  hostname: 'gpu-box-7',
  os: 'Debian GNU/Linux 12',
  kernel: '6.1.0',
  cpu: 'Test CPU',
  cores: 16,
  memoryTotalBytes: 128 * 1024 ** 3,
  memoryAvailableBytes: 96 * 1024 ** 3,
  diskFreeBytes: 800 * 1024 ** 3,
  diskTotalBytes: 1_000 * 1024 ** 3,
  diskFreeInodes: 60_000_000,
  diskTotalInodes: 64_000_000,
  ...change,
});

export const aStatusDocument = (change: Partial<StatusDocument> = {}): StatusDocument => ({
  agent: { running: true, version: '0.1.0', pid: 4_242, startedAt: at(-7_300_000), url: 'http://127.0.0.1:9090' },
  machine: someMachineFacts(),
  root: '/workspace',
  health: aHealthDocument(),
  installation: { status: 'installed', release: RELEASE, summary: 'ComfyUI 0.3.12, 2 node packs', packs: { installed: 2, failed: 0 } },
  gpus: [aGpu(0), aGpu(1)],
  operations: [],
  recent: [],
  asOf: at(0),
  ...change,
});

export const aStateDocument = (change: Partial<StateDocument> = {}): StateDocument => ({
  desired: null,
  observed: {
    at: at(0),
    gpus: [aGpu(0), aGpu(1)],
    machine: someMachineFacts(),
    processes: [aProcess(0), aProcess(1)],
    release: aRelease(),
    leases: [],
    portHolders: [],
    unknown: [],
  },
  holds: [],
  ...change,
});

export const aGpusDocument = (change: Partial<GpusDocument> = {}): GpusDocument => ({
  present: true,
  reason: null,
  gpus: [0, 1].map((index) => ({ ...aGpu(index), instance: `comfyui-gpu${index}`, owner: null, note: null })),
  ...change,
});

export const aPortsDocument = (change: Partial<PortsDocument> = {}): PortsDocument => ({
  ports: [0, 1].map((gpu) => ({
    gpu,
    tcpPort: 8188 + gpu,
    lease: { gpu, tcpPort: 8188 + gpu, first: 8188, since: at(-100_000) },
    holder: { tcpPort: 8188 + gpu, pid: 4_700 + gpu, command: 'python main.py' },
    ours: true,
  })),
  ...change,
});

export const aReleasesDocument = (change: Partial<ReleasesDocument> = {}): ReleasesDocument => ({
  current: RELEASE,
  releases: [{ id: RELEASE, complete: true, current: true, proved: true, failed: null, release: null, sizeBytes: 5_368_709_120 }],
  ...change,
});

export const aConfigDocument = (change: Partial<ConfigDocument> = {}): ConfigDocument => ({
  file: '/etc/comfylet/agent.yaml',
  values: [
    { path: 'root', value: '/workspace', source: 'default', origin: null },
    { path: 'api.port', value: 9090, source: 'environment', origin: 'AGENT_PORT' },
  ],
  problem: null,
  ...change,
});

export const aDoctorDocument = (change: Partial<DoctorDocument> = {}): DoctorDocument => ({
  ok: true,
  root: '/workspace',
  findings: [
    { check: 'root', status: 'ok', message: '/workspace can be written by this user', help: null },
    { check: 'disk', status: 'warn', message: '20 GB free', help: 'free space' },
  ],
  checkedAt: at(0),
  ...change,
});

export const aVersionDocument = (change: Partial<VersionDocument> = {}): VersionDocument => ({
  agent: '0.1.0',
  commit: null,
  node: '24.21.0',
  pm2: '7.0.4',
  licence: 'AGPL-3.0-only',
  arch: 'x64',
  singleFile: false,
  stateVersion: 1,
  build: null,
  ...change,
});

export const aDriftDocument = (change: Partial<DriftDocument> = {}): DriftDocument => ({
  release: RELEASE,
  ok: true,
  drift: [],
  unknown: [],
  compared: { sources: 2, packages: 3, models: 1 },
  checkedAt: at(0),
  ...change,
});
