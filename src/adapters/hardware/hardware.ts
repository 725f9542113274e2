import { access } from 'node:fs/promises';
import { hostname } from 'node:os';
import type { Gpu, GpuReading, MigDevice } from '../../domain/cards/gpu.ts';
import { AgentError } from '../../domain/errors/errors.ts';
import type { Hardware } from '../../ports/hardware.ts';
import type { CommandResult, Shell } from '../../ports/shell.ts';
import { type CardName, cardsOfDriver } from './driver-files.ts';
import { createMachineFacts } from './machine.ts';
import { CardQuery, failed, faultOf } from './nvidia-smi/cards.ts';
import { type ComputeProcess, deviceList, type GpuFacts, parseMigDevices, parseProcesses, processQuery } from './nvidia-smi/nvidia-smi.ts';

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
  const cardQuery = new CardQuery();
  /** Cards of the newest reading that was whole. */
  let seen: readonly CardName[] = [];
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

  /** What is not told of processes holds nothing, so a refusal is no error here; a hang is. */
  async function askProcesses(smi: string, endsAt: number): Promise<readonly ComputeProcess[]> {
    const result = await run(smi, processQuery, endsAt);
    const processes = parseProcesses(result.stdout);
    return Promise.all(
      processes.map(async (process) => {
        // In a container the pid is the host's, and names somebody else here or nobody.
        const here = process.name !== null && (await exists(`${procRoot}/${process.pid}`));
        return here ? process : { ...process, name: null };
      }),
    );
  }

  async function askMigDevices(smi: string, endsAt: number): Promise<ReadonlyMap<string, readonly MigDevice[]>> {
    const result = await run(smi, deviceList, endsAt);
    const devices = parseMigDevices(result.stdout);
    if (result.exitCode !== 0 && devices.size === 0) throw faultOf(result);
    return devices;
  }

  return {
    async gpus(before = []): Promise<GpuReading> {
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
      const others = async (): Promise<readonly CardName[]> => byUuid([...before, ...seen, ...(await cardsOfDriver(procRoot))]);
      const [cards, processes] = await Promise.all([cardQuery.ask((args) => run(smi, args, endsAt), others), askProcesses(smi, endsAt)]);
      if (cards === null) return { present: true, gpus: [] };
      const { gpus, unreachable, remarks } = cards;
      if (unreachable.length === 0) seen = gpus;
      const devices = gpus.some((gpu) => gpu.migMode === 'enabled')
        ? await askMigDevices(smi, endsAt)
        : new Map<string, readonly MigDevice[]>();
      return {
        present: true,
        gpus: gpus.map((gpu) => withDetails(gpu, devices.get(gpu.uuid) ?? [], processes)),
        ...(unreachable.length === 0 ? {} : { unreachable }),
        ...(remarks.length === 0 ? {} : { remarks }),
      };
    },

    machine: createMachineFacts(),
    hostname,
  };
}

/** Each once, with its address where anybody knows it. */
function byUuid(cards: readonly CardName[]): readonly CardName[] {
  const found = new Map<string, CardName>();
  for (const { uuid, pciBusId } of cards) found.set(uuid, { uuid, pciBusId: pciBusId ?? found.get(uuid)?.pciBusId ?? null });
  return [...found.values()];
}

function withDetails(gpu: GpuFacts, migDevices: readonly MigDevice[], processes: readonly ComputeProcess[]): Gpu {
  const uuids = new Set([gpu.uuid, ...migDevices.map(({ uuid }) => uuid)]);
  const own = processes.filter(({ gpuUuid }) => uuids.has(gpuUuid));
  return {
    ...gpu,
    migDevices: [...migDevices],
    partOf: null,
    processes: own.map(({ gpuUuid, pid, name, memoryBytes }) => ({
      pid,
      name,
      memoryBytes,
      type: 'compute' as const,
      migDevice: gpuUuid === gpu.uuid ? null : gpuUuid,
    })),
  };
}

const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );

const hangs = (message: string): AgentError =>
  failed(
    message,
    'where it is only slow, switch persistence mode on (`systemctl enable --now nvidia-persistenced`, or `nvidia-smi -pm 1`) or raise gpu.queryTimeoutMs; else the driver hangs: see `dmesg | grep -i -e nvrm -e xid`; running instances are left alone, and a reboot may be needed',
  );
