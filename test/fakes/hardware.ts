import type { Gpu, MachineFacts } from '../../src/domain/cards/gpu.ts';
import { AgentError } from '../../src/domain/errors/errors.ts';
import type { Hardware } from '../../src/ports/hardware.ts';

export interface FakeHardware {
  readonly hardware: Hardware;
  /** What the next readings show; null: no NVIDIA driver at all. */
  gpus(gpus: readonly Gpu[] | null): void;
  /** From now on the cards cannot be read, until `gpus` is called. */
  fail(message: string): void;
  /** Readings wait from now on until the returned function is called. */
  hold(): () => void;
  machine(facts: Partial<MachineFacts>): void;
  /** Number of readings of the cards that were asked for. */
  readings(): number;
}

/** Cards in memory. With no argument: a machine without an NVIDIA driver. */
export function createFakeHardware(initial: readonly Gpu[] | null = null): FakeHardware {
  let shown = initial;
  let failure: string | null = null;
  let gate: Promise<void> = Promise.resolve();
  let readings = 0;
  let facts: MachineFacts = {
    hostname: 'box',
    os: 'Debian 12',
    kernel: '6.1.0',
    cpu: 'Test CPU',
    cores: 8,
    memoryTotalBytes: 64 * 1024 ** 3,
    memoryAvailableBytes: 48 * 1024 ** 3,
    diskFreeBytes: 500 * 1024 ** 3,
    diskTotalBytes: 1_000 * 1024 ** 3,
    diskFreeInodes: 60_000_000,
    diskTotalInodes: 64_000_000,
  };
  return {
    hardware: {
      gpus: async () => {
        readings++;
        await gate;
        if (failure !== null) throw new AgentError('GPU_QUERY_FAILED', failure);
        return { present: shown !== null, gpus: shown ?? [] };
      },
      machine: async () => facts,
      hostname: () => facts.hostname,
    },
    gpus: (gpus) => {
      shown = gpus;
      failure = null;
    },
    fail: (message) => {
      failure = message;
    },
    hold: () => {
      const { promise, resolve } = Promise.withResolvers<void>();
      gate = promise;
      return resolve;
    },
    machine: (change) => {
      facts = { ...facts, ...change };
    },
    readings: () => readings,
  };
}
