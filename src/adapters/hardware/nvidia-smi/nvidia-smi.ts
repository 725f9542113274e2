import {
  type Gpu,
  type GpuRemark,
  type MigDevice,
  normalPciBusId,
  recoveryActionOf,
  type UnreachableGpu,
} from '../../../domain/cards/gpu.ts';
import { toBoolean, toBytes, toCount, told, toNumber, toState, toThrottle, toWatts } from './cells.ts';

/**
 * What nvidia-smi prints, as facts. Pure.
 *
 * CSV queries and not the one XML document of `-q -x`: the document makes the driver read every sensor and costs about
 * eight times as much (0.6 s against 0.07 s on eight cards), every ten seconds, beside running jobs. What only the XML
 * has, graphics processes, counts for nothing here: --query-compute-apps lists exactly those with a compute context.
 * MIG devices have no UUID in either; they come from `-L`, asked only when a card has MIG on.
 */

/**
 * Fields of --query-gpu in the order asked. `--help-query-gpu` tells which of them a driver knows; one that it refuses all the
 * same is left out, and the rest asked again.
 */
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
  'pci.bus_id',
  'pstate',
  'power.draw',
  'power.limit',
  // Renamed in R535; later drivers know both names, and the old one is to go.
  'clocks_event_reasons.active',
  'clocks_throttle_reasons.active',
  'ecc.errors.uncorrected.volatile.total',
  'ecc.errors.uncorrected.aggregate.total',
  'retired_pages.pending',
  'remapped_rows.pending',
  'remapped_rows.failure',
  'gpu_recovery_action',
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
export const fieldHelp: readonly string[] = ['--help-query-gpu'];

/**
 * The fields to ask for, by the answer to `fieldHelp`, which names each in quotes; null when that answer says nothing of
 * the sort: all are tried then. Of two names of one thing the newer is taken.
 */
export function fieldsOf(help: string | null): readonly GpuField[] {
  const names = new Set(help?.match(/(?<=")[\w.]+(?=")/g));
  const isKnown = (field: GpuField): boolean => names.size === 0 || names.has(field);
  const renamed = isKnown('clocks_event_reasons.active');
  return GPU_FIELDS.filter(
    (field) => (isKnown(field) || REQUIRED_FIELDS.includes(field)) && !(renamed && field === 'clocks_throttle_reasons.active'),
  );
}

/** The cells of a line; commas beyond the last column belong to it. */
function cellsOf(line: string, columns: number): readonly string[] {
  const cells = line.split(',');
  return [...cells.slice(0, columns - 1), cells.slice(columns - 1).join(',')];
}

export const linesOf = (output: string): readonly string[] => output.split(/\r?\n/).filter((line) => line.trim() !== '');

/** A card without its processes and MIG devices. */
export type GpuFacts = Omit<Gpu, 'processes' | 'migDevices' | 'partOf'>;

/** Said of a card that fell off the bus; the others follow, or nothing does. Words and spaces differ between drivers. */
const UNREACHABLE = /^Unable to determine the device handle for GPU\s*(?:\d+:\s+)?(\S+?)(?:\.?:\s+|:\s*$)(.*)$/i;

/** Cards that the driver cannot reach, by what it says beside (or in place of) the list. */
export function parseUnreachable(output: string): readonly UnreachableGpu[] {
  return linesOf(output).flatMap((line) => {
    const found = UNREACHABLE.exec(line.trim());
    return found === null ? [] : [{ uuid: null, pciBusId: normalPciBusId(found[1] ?? ''), words: line.trim().slice(0, 200) }];
  });
}

export const isUnreachable = (line: string): boolean => UNREACHABLE.test(line.trim());

export interface ParsedGpus {
  readonly gpus: readonly GpuFacts[];
  /** Lines that are not what was asked for. */
  readonly rest: readonly string[];
}

/** Cards by the answer to `gpuQuery(fields)`: warnings stand among its rows. */
export function parseGpus(output: string, fields: readonly GpuField[]): ParsedGpus {
  const gpus: GpuFacts[] = [];
  const rest: string[] = [];
  for (const line of linesOf(output)) {
    const cells = cellsOf(line, fields.length);
    const cell = (field: GpuField): string | undefined => cells[fields.indexOf(field)];
    const index = toNumber(cell('index'));
    const uuid = told(cell('uuid'));
    if (index === null || !Number.isInteger(index) || uuid === null || !/^(GPU|MIG)-/.test(uuid)) {
      rest.push(line);
      continue;
    }
    const migMode = told(cell('mig.mode.current'))?.toLowerCase();
    gpus.push({
      index,
      driverIndex: index,
      uuid,
      name: told(cell('name')) ?? 'NVIDIA GPU',
      memoryTotalBytes: toBytes(cell('memory.total')),
      memoryUsedBytes: toBytes(cell('memory.used')),
      driverVersion: told(cell('driver_version')),
      computeMode: told(cell('compute_mode')),
      migMode: migMode === 'enabled' || migMode === 'disabled' ? migMode : null,
      temperatureC: toNumber(cell('temperature.gpu')),
      utilisationPercent: toNumber(cell('utilization.gpu')),
      pciBusId: normalPciBusId(told(cell('pci.bus_id')) ?? ''),
      state: toState(cells),
      performanceState: told(cell('pstate')),
      powerDrawWatts: toWatts(cell('power.draw')),
      powerLimitWatts: toWatts(cell('power.limit')),
      throttle: toThrottle(cell('clocks_event_reasons.active') ?? cell('clocks_throttle_reasons.active')),
      ecc: {
        uncorrectedVolatile: toCount(cell('ecc.errors.uncorrected.volatile.total')),
        uncorrectedAggregate: toCount(cell('ecc.errors.uncorrected.aggregate.total')),
        retirementPending: toBoolean(cell('retired_pages.pending')),
        remapPending: toBoolean(cell('remapped_rows.pending')),
        remapFailed: toBoolean(cell('remapped_rows.failure')),
      },
      recoveryAction: recoveryActionOf(told(cell('gpu_recovery_action')) ?? ''),
    });
  }
  return { gpus: gpus.sort((a, b) => a.index - b.index), rest };
}

/** Lines of the end of both streams that are not of stdout. */
export const otherLines = (tail: string, stdout: string): readonly string[] => linesOf(tail).filter((line) => !stdout.includes(line));

/** A line that is no row, with the card that it names: by UUID, by its place on the bus, or by its number. */
export function remarkOf(line: string, gpus: readonly GpuFacts[]): GpuRemark {
  const words = line.trim().slice(0, 200);
  const uuid = /\bGPU-[0-9a-f]{8}-[0-9a-f-]{20,60}/i.exec(words)?.[0];
  const place = /\b(?:[0-9a-f]{4,8}:)?[0-9a-f]{2}:[0-9a-f]{2}\.[0-9a-f]\b/i.exec(words)?.[0];
  const number = /\bGPU ?(\d{1,3})\b/i.exec(words)?.[1];
  const named = gpus.find((gpu) =>
    uuid !== undefined
      ? gpu.uuid === uuid
      : place !== undefined
        ? gpu.pciBusId !== null && gpu.pciBusId === normalPciBusId(place)
        : number !== undefined && gpu.index === Number(number),
  );
  return { uuid: named?.uuid ?? uuid ?? null, words };
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

/** MIG devices by the UUID of their card, in the driver's order, from `nvidia-smi -L`. */
export function parseMigDevices(output: string): ReadonlyMap<string, readonly MigDevice[]> {
  const devices = new Map<string, MigDevice[]>();
  let ofCard: MigDevice[] = [];
  for (const line of linesOf(output)) {
    const uuid = /\(UUID:\s*([^)\s]+)\)/.exec(line)?.[1];
    if (uuid === undefined) continue;
    if (/^GPU \d+:/.test(line)) {
      ofCard = [];
      devices.set(uuid, ofCard);
    } else if (/^\s+MIG /.test(line)) {
      ofCard.push({ uuid, profile: /^\s+MIG (\S{1,32})\s/.exec(line)?.[1] ?? null });
    }
  }
  return devices;
}

/** The field that this driver's nvidia-smi does not know, by its complaint. */
export const unknownField = (output: string): string | null => /Field "([^"]+)" is not a valid field to query/.exec(output)?.[1] ?? null;
