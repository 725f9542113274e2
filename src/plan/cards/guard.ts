import type { GpuProcess, GpuReading } from '../../domain/cards/gpu.ts';
import type { Config } from '../../domain/configuration/config.ts';
import { instanceTarget } from '../../domain/identity.ts';
import type { DesiredInstance } from '../../domain/instances/instance.ts';
import type { Observed } from '../../domain/observed.ts';
import { hold, type NewHold } from '../hold.ts';

const MEBIBYTE = 1024 * 1024;

/** A stranger that computes on the card of an instance. */
export interface ForeignProcess {
  readonly gpu: number;
  readonly process: GpuProcess;
  readonly memoryMb: number;
}

/**
 * Compute processes that are not ours and hold more of a card than allowed. Graphics processes do not count, and a pid
 * that cannot be resolved here (containers) is unknown and holds nothing.
 */
export function foreignProcesses(setting: Config['gpu'], reading: Observed<GpuReading>, ownPids: ReadonlySet<number>): ForeignProcess[] {
  if (!reading.known) return [];
  return reading.value.gpus.flatMap((gpu) =>
    gpu.processes
      .filter((process) => process.type === 'compute' && process.name !== null && process.memoryBytes !== null && !ownPids.has(process.pid))
      .map((process) => ({ gpu: gpu.index, process, memoryMb: Math.round((process.memoryBytes ?? 0) / MEBIBYTE) }))
      .filter((foreign) => foreign.memoryMb > setting.foreignMemoryMb),
  );
}

export const foreignReason = (foreign: ForeignProcess): string =>
  `pid ${foreign.process.pid} (${foreign.process.name}) uses ${foreign.memoryMb} MiB of GPU ${foreign.gpu}`;

export function foreignHolds(setting: Config['gpu'], instances: readonly DesiredInstance[], foreign: readonly ForeignProcess[]): NewHold[] {
  if (setting.foreignProcess === 'warn') return [];
  return instances
    .filter((instance) => instance.mode === 'gpu')
    .flatMap((instance) => {
      const first = foreign.find((candidate) => candidate.gpu === instance.gpu);
      if (first === undefined) return [];
      return [
        hold(
          instanceTarget(instance.gpu),
          'GPU_FOREIGN_PROCESS',
          foreignReason(first),
          'end that process, raise gpu.foreignMemoryMb, or set gpu.foreignProcess to warn',
        ),
      ];
    });
}
