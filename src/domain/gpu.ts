import { z } from 'zod';

/** A process that holds memory of a card, as nvidia-smi lists it. */
export const GpuProcess = z.object({
  pid: z.int(),
  /** Process name; null when the pid cannot be resolved here (containers). */
  name: z.string().nullable(),
  /** null where the driver does not say ("[N/A]"). */
  memoryBytes: z.int().nullable(),
  type: z.enum(['compute', 'graphics']),
});
export type GpuProcess = z.infer<typeof GpuProcess>;

/** One CUDA device, identified by UUID; the index is for people. */
export const Gpu = z.object({
  index: z.int().min(0),
  uuid: z.string(),
  name: z.string(),
  memoryTotalBytes: z.int().nullable(),
  memoryUsedBytes: z.int().nullable(),
  driverVersion: z.string().nullable(),
  computeMode: z.string().nullable(),
  migMode: z.enum(['enabled', 'disabled']).nullable(),
  /** UUIDs of MIG devices on this card. */
  migDevices: z.array(z.string()),
  temperatureC: z.number().nullable(),
  utilisationPercent: z.number().nullable(),
  processes: z.array(GpuProcess),
});
export type Gpu = z.infer<typeof Gpu>;

/** The machine around the cards (from systeminformation). */
export const MachineFacts = z.object({
  hostname: z.string(),
  os: z.string(),
  kernel: z.string(),
  cpu: z.string(),
  cores: z.int(),
  memoryTotalBytes: z.int(),
  memoryAvailableBytes: z.int(),
  diskFreeBytes: z.int().nullable(),
  diskTotalBytes: z.int().nullable(),
});
export type MachineFacts = z.infer<typeof MachineFacts>;

/** `present: false` means that this machine has no NVIDIA driver at all, which is a fact and not a failure. */
export interface GpuReading {
  readonly present: boolean;
  readonly gpus: readonly Gpu[];
}
