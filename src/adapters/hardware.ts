import { access } from 'node:fs/promises';
import { hostname } from 'node:os';
import { AgentError } from '../domain/errors.ts';
import type { Gpu, GpuReading, UnreachableGpu } from '../domain/gpu.ts';
import type { CommandResult, Hardware, Shell } from '../ports.ts';
import { createMachineFacts } from './hardware-machine.ts';
import {
  type ComputeProcess,
  deviceList,
  fieldHelp,
  fieldsOf,
  GPU_FIELDS,
  type GpuFacts,
  type GpuField,
  gpuQuery,
  parseGpus,
  parseMigDevices,
  parseProcesses,
  parseUnreachable,
  processQuery,
  REQUIRED_FIELDS,
  unknownField,
} from './nvidia-smi.ts';
import { explainFault, saysNoDevices } from './nvidia-smi-faults.ts';

/** Nothing of ours is handed on; nvidia-smi needs no more than this. */
const ENVIRONMENT = { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' };
/** Far above any real answer (eight cards: 2 KB). */
const OUTPUT_LIMIT = 1024 * 1024;
/** From the kill of a hung nvidia-smi to giving up on seeing its end: one that waits inside the driver cannot be killed. */
const KILL_LIMIT_MS = 1_000;

export interface HardwareOptions {
  readonly shell: Shell;
  /** Limit on a whole reading of the cards, milliseconds. */
  readonly queryTimeoutMs: number;
  /** Program to ask, by name or path; default: nvidia-smi on PATH. */
  readonly nvidiaSmi?: string;
  /** Where procfs is mounted; another place in tests. */
  readonly procRoot?: string;
}

export function createHardware(options: HardwareOptions): Hardware {
  const { shell, queryTimeoutMs } = options;
  const procRoot = options.procRoot ?? '/proc';
  /** Fields that this nvidia-smi knows, by its own help; null: not asked yet. */
  let fieldsKnown: readonly GpuField[] | null = null;
  /** Fields it complained about: learnt once. */
  const unknownFields = new Set<string>();
  /** Cards of the newest reading that told of any. */
  let seen: readonly Pick<Gpu, 'uuid' | 'pciBusId'>[] = [];
  /** Calls that did not end with their time limit. */
  const hung = new Set<Promise<CommandResult>>();

  async function run(program: string, args: readonly string[], endsAt: number): Promise<CommandResult> {
    // Each further one would hang as well, and they would pile up.
    if (hung.size > 0) throw hangs('an earlier nvidia-smi still hangs in the driver');
    const left = Math.max(1, Math.round(endsAt - performance.now()));
    const running = shell.run(program, args, { environment: ENVIRONMENT, timeoutMs: left, maxOutputBytes: OUTPUT_LIMIT });
    const { promise: expired, resolve } = Promise.withResolvers<null>();
    const timer = setTimeout(resolve, left + KILL_LIMIT_MS, null);
    try {
      const result = await Promise.race([running, expired]);
      if (result === null) {
        hung.add(running);
        const forget = (): void => void hung.delete(running);
        running.then(forget, forget);
      }
      if (result === null || result.timedOut) throw hangs(`nvidia-smi did not answer within ${queryTimeoutMs} ms`);
      return result;
    } catch (cause) {
      if (cause instanceof AgentError && cause.code === 'GPU_QUERY_FAILED') throw cause;
      throw failed(`nvidia-smi could not be run: ${cause instanceof Error ? cause.message : String(cause)}`, null, cause);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Once for each driver: the help is text, and wakes no card. One that has none is asked for everything, and tells what it refuses. */
  async function askFields(smi: string, endsAt: number): Promise<readonly GpuField[]> {
    if (fieldsKnown === null) {
      const result = await run(smi, fieldHelp, endsAt);
      fieldsKnown = fieldsOf(result.exitCode === 0 ? result.stdout : null);
    }
    return fieldsKnown.filter((field) => !unknownFields.has(field));
  }

  /** null: the driver is there and sees no card. */
  async function askGpus(smi: string, endsAt: number): Promise<Cards | null> {
    let only: readonly string[] = [];
    let unreachable: readonly UnreachableGpu[] = [];
    // At most one refused field is learnt in each round, and one round leaves out cards that cannot be reached.
    for (let round = 0; round <= GPU_FIELDS.length + 1; round++) {
      const fields = await askFields(smi, endsAt);
      const result = await run(smi, [...gpuQuery(fields), ...(only.length === 0 ? [] : ['-i', only.join(',')])], endsAt);
      const refused = result.exitCode === 0 ? null : unknownField(result.tail);
      if (refused !== null && isOptional(fields, refused)) {
        unknownFields.add(refused);
        continue;
      }
      const gone = parseUnreachable(result.tail);
      const gpus = parseGpus(result.stdout, fields);
      // Some versions go on with the other cards, some end at the first that is gone.
      if (gone.length > 0 && (gpus === null || gpus.length === 0) && only.length === 0) {
        unreachable = gone;
        only = seen.filter(({ pciBusId }) => pciBusId !== null && gone.every((card) => card.pciBusId !== pciBusId)).map(({ uuid }) => uuid);
        if (only.length === 0 || only.length === seen.length) throw faultOf(result);
        continue;
      }
      if (saysNoDevices(result.tail)) return null;
      if (result.exitCode !== 0 && !(gone.length > 0 && gpus !== null && gpus.length > 0)) throw faultOf(result);
      if (gpus === null || gpus.length === 0) throw failed(`nvidia-smi answered in a form not known: ${firstLine(result.stdout)}`);
      return { gpus, unreachable: unreachable.length > 0 ? unreachable : gone };
    }
    throw failed('nvidia-smi refuses the fields it is asked for');
  }

  /** What is not told of processes holds nothing, so a refusal is no error here; a hang is. */
  async function askProcesses(smi: string, endsAt: number): Promise<readonly ComputeProcess[]> {
    const result = await run(smi, processQuery, endsAt);
    const processes = result.exitCode === 0 ? parseProcesses(result.stdout) : [];
    return Promise.all(
      processes.map(async (process) => {
        // In a container the pid is the host's, and names somebody else here or nobody.
        const here = process.name !== null && (await exists(`${procRoot}/${process.pid}`));
        return here ? process : { ...process, name: null };
      }),
    );
  }

  async function askMigDevices(smi: string, endsAt: number): Promise<ReadonlyMap<string, readonly string[]>> {
    const result = await run(smi, deviceList, endsAt);
    if (result.exitCode !== 0) throw faultOf(result);
    return parseMigDevices(result.stdout);
  }

  return {
    async gpus(): Promise<GpuReading> {
      const endsAt = performance.now() + queryTimeoutMs;
      const smi = await shell.which(options.nvidiaSmi ?? 'nvidia-smi');
      if (smi === null) {
        if (!(await exists(`${procRoot}/driver/nvidia`))) return { present: false, gpus: [] };
        throw failed(
          'the NVIDIA driver is loaded, but there is no nvidia-smi',
          'install the nvidia-utils package of the running driver, or put nvidia-smi on PATH',
        );
      }
      // Side by side: without persistence mode each call wakes the cards up, which takes a second or two.
      const [cards, processes] = await Promise.all([askGpus(smi, endsAt), askProcesses(smi, endsAt)]);
      if (cards === null) return { present: true, gpus: [] };
      const { gpus, unreachable } = cards;
      if (unreachable.length === 0) seen = gpus;
      const devices = gpus.some((gpu) => gpu.migMode === 'enabled')
        ? await askMigDevices(smi, endsAt)
        : new Map<string, readonly string[]>();
      return {
        present: true,
        gpus: gpus.map((gpu) => withDetails(gpu, devices.get(gpu.uuid) ?? [], processes)),
        ...(unreachable.length === 0 ? {} : { unreachable }),
      };
    },

    machine: createMachineFacts(),
    hostname,
  };
}

interface Cards {
  readonly gpus: readonly GpuFacts[];
  readonly unreachable: readonly UnreachableGpu[];
}

function withDetails(gpu: GpuFacts, migDevices: readonly string[], processes: readonly ComputeProcess[]): Gpu {
  const own = processes.filter(({ gpuUuid }) => gpuUuid === gpu.uuid || migDevices.includes(gpuUuid));
  return {
    ...gpu,
    migDevices: [...migDevices],
    processes: own.map(({ pid, name, memoryBytes }) => ({ pid, name, memoryBytes, type: 'compute' as const })),
  };
}

const isOptional = (fields: readonly GpuField[], refused: string): boolean =>
  fields.some((field) => field === refused) && !REQUIRED_FIELDS.some((field) => field === refused);

const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );

const firstLine = (text: string): string => text.trim().split('\n')[0]?.slice(0, 200) ?? '';

const failed = (message: string, help: string | null = null, cause?: unknown): AgentError =>
  new AgentError('GPU_QUERY_FAILED', message, { ...(help === null ? {} : { help }), ...(cause === undefined ? {} : { cause }) });

const hangs = (message: string): AgentError =>
  failed(message, 'the driver hangs: see `dmesg | grep -i -e nvrm -e xid`; running instances are left alone; a reboot may be needed');

function faultOf(result: CommandResult): AgentError {
  const { reason, help } = explainFault(result.tail, result.exitCode);
  return failed(reason, help);
}
