import type { Gpu } from '../domain/gpu.ts';

/**
 * What nvidia-smi prints, as facts. Pure.
 *
 * CSV queries and not the one XML document of `-q -x`: the document makes the driver read every sensor and costs about
 * eight times as much (0.6 s against 0.07 s on eight cards), every ten seconds, beside running jobs. What only the XML
 * has, graphics processes, counts for nothing here: --query-compute-apps lists exactly those with a compute context.
 * MIG devices have no UUID in either; they come from `-L`, asked only when a card has MIG on.
 */

/** Fields of --query-gpu in the order asked. Drivers that do not know one are asked again without it. */
export const GPU_FIELDS = [
  'index',
  'uuid',
  'memory.total',
  'memory.used',
  'driver_version',
  'compute_mode',
  'mig.mode.current',
  'temperature.gpu',
  'utilization.gpu',
  // Last, because CSV is not quoted and names are free text.
  'name',
] as const;
export type GpuField = (typeof GPU_FIELDS)[number];

/** Without these a card cannot be named, pinned or counted. */
export const REQUIRED_FIELDS: readonly GpuField[] = ['index', 'uuid'];

const PROCESS_FIELDS = ['gpu_uuid', 'pid', 'used_memory', 'process_name'] as const;

export const gpuQuery = (fields: readonly GpuField[]): readonly string[] => [
  `--query-gpu=${fields.join(',')}`,
  '--format=csv,noheader,nounits',
];
export const processQuery: readonly string[] = [`--query-compute-apps=${PROCESS_FIELDS.join(',')}`, '--format=csv,noheader,nounits'];
export const deviceList: readonly string[] = ['-L'];

const MEBIBYTE = 1024 * 1024;

/** "[N/A]", "[Not Supported]", "[Insufficient Permissions]", "[Unknown Error]", "[GPU requires reset]", "N/A", …: not told. */
function told(cell: string | undefined): string | null {
  const value = cell?.trim() ?? '';
  return value === '' || value === 'N/A' || /^\[.*\]$/.test(value) ? null : value;
}

function toNumber(cell: string | undefined): number | null {
  const value = Number(told(cell) ?? Number.NaN);
  return Number.isFinite(value) ? value : null;
}

/** Also where units were printed all the same ("512 MiB"). */
function toBytes(cell: string | undefined): number | null {
  const mebibytes = toNumber(cell?.replace(/\s*MiB\s*$/, ''));
  return mebibytes === null ? null : Math.round(mebibytes * MEBIBYTE);
}

/** The cells of a line; commas beyond the last column belong to it. */
function cellsOf(line: string, columns: number): readonly string[] {
  const cells = line.split(',');
  return [...cells.slice(0, columns - 1), cells.slice(columns - 1).join(',')];
}

const linesOf = (output: string): readonly string[] => output.split(/\r?\n/).filter((line) => line.trim() !== '');

/** A card without its processes and MIG devices. */
export type GpuFacts = Omit<Gpu, 'processes' | 'migDevices'>;

/** Cards by the answer to `gpuQuery(fields)`; null when a line is not what was asked for. */
export function parseGpus(output: string, fields: readonly GpuField[]): readonly GpuFacts[] | null {
  const gpus: GpuFacts[] = [];
  for (const line of linesOf(output)) {
    const cells = cellsOf(line, fields.length);
    const cell = (field: GpuField): string | undefined => cells[fields.indexOf(field)];
    const index = toNumber(cell('index'));
    const uuid = told(cell('uuid'));
    if (index === null || !Number.isInteger(index) || uuid === null || !/^(GPU|MIG)-/.test(uuid)) return null;
    const migMode = told(cell('mig.mode.current'))?.toLowerCase();
    gpus.push({
      index,
      uuid,
      name: told(cell('name')) ?? 'NVIDIA GPU',
      memoryTotalBytes: toBytes(cell('memory.total')),
      memoryUsedBytes: toBytes(cell('memory.used')),
      driverVersion: told(cell('driver_version')),
      computeMode: told(cell('compute_mode')),
      migMode: migMode === 'enabled' || migMode === 'disabled' ? migMode : null,
      temperatureC: toNumber(cell('temperature.gpu')),
      utilisationPercent: toNumber(cell('utilization.gpu')),
    });
  }
  return gpus.sort((a, b) => a.index - b.index);
}

export interface ComputeProcess {
  /** Of the card, or of a MIG device. */
  readonly gpuUuid: string;
  readonly pid: number;
  /** null where the driver cannot resolve the pid (containers: "[Not Found]"). */
  readonly name: string | null;
  readonly memoryBytes: number | null;
}

/** Processes with a compute context. Lines without a pid ("[Not Supported]" on old consumer cards) tell nothing. */
export function parseProcesses(output: string): readonly ComputeProcess[] {
  return linesOf(output).flatMap((line) => {
    const [gpuUuid, pid, memory, name] = cellsOf(line, PROCESS_FIELDS.length);
    const number = toNumber(pid);
    const uuid = told(gpuUuid);
    if (number === null || !Number.isInteger(number) || number <= 0 || uuid === null) return [];
    return [{ gpuUuid: uuid, pid: number, name: told(name), memoryBytes: toBytes(memory) }];
  });
}

/** UUIDs of MIG devices by the UUID of their card, from `nvidia-smi -L`. */
export function parseMigDevices(output: string): ReadonlyMap<string, readonly string[]> {
  const devices = new Map<string, string[]>();
  let ofCard: string[] = [];
  for (const line of linesOf(output)) {
    const uuid = /\(UUID:\s*([^)\s]+)\)/.exec(line)?.[1];
    if (uuid === undefined) continue;
    if (/^GPU \d+:/.test(line)) {
      ofCard = [];
      devices.set(uuid, ofCard);
    } else if (/^\s+MIG /.test(line)) {
      ofCard.push(uuid);
    }
  }
  return devices;
}

/** The field that this driver's nvidia-smi does not know, by its complaint. */
export const unknownField = (output: string): string | null => /Field "([^"]+)" is not a valid field to query/.exec(output)?.[1] ?? null;

/** nvidia-smi ends with 6 and these words when the driver runs and sees no card. */
export const saysNoDevices = (output: string): boolean => /No devices were found/.test(output);

/** Why nvidia-smi failed, and what to do. The words are those of nvidia-smi; exit codes differ between its versions. */
const faults: readonly { readonly pattern: RegExp; readonly reason: string; readonly help: string }[] = [
  {
    pattern: /couldn't communicate with the NVIDIA driver/,
    reason: 'nvidia-smi cannot reach the NVIDIA driver',
    help: 'the kernel module is not loaded: `modprobe nvidia`, then `dmesg | grep -i nvrm`; after a kernel update rebuild it (`dkms autoinstall`) or reboot',
  },
  {
    pattern: /Driver\/library version mismatch/,
    reason: 'the NVIDIA driver was updated, and the kernel still runs the old one',
    help: 'reboot, or unload and load the nvidia kernel modules',
  },
  {
    pattern: /Failed to initialize NVML: (Unknown Error|Insufficient Permissions|No permission)/i,
    reason: 'the GPU devices may not be opened',
    help: 'in a container: start it with its GPU devices again (they are lost when the host reloads systemd); else check the rights of /dev/nvidia*',
  },
  {
    pattern: /GPU is lost|Unable to determine the device handle|fallen off the bus/i,
    reason: 'a GPU does not answer any more',
    help: 'see `dmesg | grep -i xid`; the machine must be rebooted, or the card looked at',
  },
  {
    pattern: /NVML.*(not found|couldn't find)|libnvidia-ml/i,
    reason: 'the NVIDIA library (libnvidia-ml) was not found',
    help: 'install the driver libraries that belong to the running driver',
  },
];

export interface Fault {
  readonly reason: string;
  readonly help: string | null;
}

/** In the user's terms, with nvidia-smi's own first line. */
export function explainFault(output: string, exitCode: number | null): Fault {
  const words = linesOf(output)[0]?.trim().slice(0, 300) ?? 'it said nothing';
  const known = faults.find((fault) => fault.pattern.test(output));
  if (known === undefined) return { reason: `nvidia-smi failed with exit code ${exitCode ?? 'unknown'}: ${words}`, help: null };
  return { reason: `${known.reason}: ${words}`, help: known.help };
}
