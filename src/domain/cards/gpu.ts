import { z } from 'zod';

/** A process that holds memory of a card, as nvidia-smi lists it. */
export const GpuProcess = z.object({
  pid: z.int(),
  /** Process name; null when the pid cannot be resolved here (containers). */
  name: z.string().nullable(),
  /** null where the driver does not say ("[N/A]"). */
  memoryBytes: z.int().nullable(),
  type: z.enum(['compute', 'graphics']),
  /** The MIG device under which the driver lists it; null: under the card. */
  migDevice: z.string().nullable(),
});
export type GpuProcess = z.infer<typeof GpuProcess>;

/** What slows a card down just now, by its own sensors. Each null where the driver does not say. */
export const Throttle = z.object({
  /** Temperature too high: the hardware halved the clocks or more. */
  hardwareThermal: z.boolean().nullable(),
  /** Above the maximum operating temperature: the driver lowers the clocks. */
  softwareThermal: z.boolean().nullable(),
  /** The power supply asked for less (external power brake). */
  powerBrake: z.boolean().nullable(),
  /** At the power limit: the usual state under load. */
  powerCap: z.boolean().nullable(),
});
export type Throttle = z.infer<typeof Throttle>;

/** Memory errors that could not be corrected, and what the card does about them. Each null where the card or the driver does not say. */
export const EccState = z.object({
  /** Since the driver was loaded. */
  uncorrectedVolatile: z.int().nullable(),
  /** In the life of the card. */
  uncorrectedAggregate: z.int().nullable(),
  /** Pages that are retired when the driver is loaded next (cards before Ampere). */
  retirementPending: z.boolean().nullable(),
  /** Rows that are remapped at the next reset (Ampere and later). */
  remapPending: z.boolean().nullable(),
  /** No spare rows are left: NVIDIA exchanges such cards. */
  remapFailed: z.boolean().nullable(),
});
export type EccState = z.infer<typeof EccState>;

/** What the driver says is needed before the card can be used again (drivers from R565 on). */
export const RecoveryAction = z.enum(['none', 'reset', 'reboot', 'drain-peers', 'drain-and-reset']);
export type RecoveryAction = z.infer<typeof RecoveryAction>;

/** By the words of nvidia-smi's `gpu_recovery_action` ("Drain and Reset") or of Xid 154 ("GPU Reset Required"). */
export function recoveryActionOf(words: string): RecoveryAction | null {
  const text = words.trim().toLowerCase();
  if (text === 'none') return 'none';
  if (text.includes('drain and reset')) return 'drain-and-reset';
  if (text.includes('drain p2p')) return 'drain-peers';
  return text.includes('reboot') ? 'reboot' : text.includes('reset') ? 'reset' : null;
}

/** A part of a divided card, which CUDA takes for a card. */
export const MigDevice = z.object({
  uuid: z.string(),
  /** Its share of the card as NVIDIA names it, "3g.20gb"; null: not told. */
  profile: z.string().nullable(),
});
export type MigDevice = z.infer<typeof MigDevice>;

/** One CUDA device, identified by UUID. */
export const Gpu = z.object({
  /** Its slot: the number of its instance, port and folders, which stays its own. */
  index: z.int().min(0),
  /** The number that the driver gives it now; it changes when another card goes. null: the driver does not list it. */
  driverIndex: z.int().min(0).nullable(),
  uuid: z.string(),
  name: z.string(),
  memoryTotalBytes: z.int().nullable(),
  memoryUsedBytes: z.int().nullable(),
  driverVersion: z.string().nullable(),
  computeMode: z.string().nullable(),
  migMode: z.enum(['enabled', 'disabled']).nullable(),
  /** MIG devices of this card that an instance of it may use; it uses the first. */
  migDevices: z.array(MigDevice),
  /** UUID of the card that this MIG device is a part of; null: it is a card. */
  partOf: z.string().nullable(),
  temperatureC: z.number().nullable(),
  utilisationPercent: z.number().nullable(),
  /** Place on the bus as the kernel log names it, "0000:3b:00". */
  pciBusId: z.string().nullable(),
  /**
   * `lost`: it is listed and answers nothing. `reset-required`: it refuses to work until it is reset. `missing`: it has a slot,
   * and the driver does not list it. `unread`: it has a slot, and the driver was not heard since the agent started.
   */
  state: z.enum(['ok', 'lost', 'reset-required', 'missing', 'unread']),
  /** P0 (fastest) to P12. */
  performanceState: z.string().nullable(),
  powerDrawWatts: z.number().nullable(),
  powerLimitWatts: z.number().nullable(),
  throttle: Throttle,
  ecc: EccState,
  recoveryAction: RecoveryAction.nullable(),
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
  /** null where the filesystem makes as many as it needs. */
  diskFreeInodes: z.int().nullable(),
  diskTotalInodes: z.int().nullable(),
});
export type MachineFacts = z.infer<typeof MachineFacts>;

/** A card that the driver knows and cannot reach: it is in no list of cards. */
export interface UnreachableGpu {
  /** null where it was not asked for by it. */
  readonly uuid: string | null;
  /** null where the driver names the card by its number only. */
  readonly pciBusId: string | null;
  /** The driver's words. */
  readonly words: string;
}

/** What the driver's tool said beside the cards that it lists. */
export interface GpuRemark {
  /** The card that the words name; null: the machine. */
  readonly uuid: string | null;
  /** Its own words, at most 200 characters. */
  readonly words: string;
}

/** A card that was never seen before while another is missing: most likely its replacement. It has no slot until that is accepted. */
export interface WaitingGpu {
  readonly gpu: Gpu;
  /** The slot it would get, and the card that had it. */
  readonly slot: number;
  readonly formerly: string;
}

/** `present: false` means that this machine has no NVIDIA driver at all, which is a fact and not a failure. */
export interface GpuReading {
  readonly present: boolean;
  readonly gpus: readonly Gpu[];
  readonly unreachable?: readonly UnreachableGpu[];
  readonly remarks?: readonly GpuRemark[];
  readonly waiting?: readonly WaitingGpu[];
}

/** The driver's words about a card that it cannot reach; null: it says nothing of it. */
export const unreachableWords = ({ unreachable = [] }: GpuReading, { uuid, pciBusId }: Pick<Gpu, 'uuid' | 'pciBusId'>): string | null =>
  unreachable.find((gone) => gone.uuid === uuid || (gone.pciBusId !== null && gone.pciBusId === pciBusId))?.words ?? null;

/** Cards that the driver cannot reach, and that none of these is. */
export const unknownUnreachable = (gone: readonly UnreachableGpu[] = [], cards: readonly Gpu[]): readonly UnreachableGpu[] =>
  gone.filter((one) => !cards.some(({ uuid, pciBusId }) => uuid === one.uuid || (pciBusId !== null && pciBusId === one.pciBusId)));

/**
 * The form in which cards are compared: domain of four digits, bus, device, in small letters and without the function.
 * nvidia-smi writes "00000000:3B:00.0", the kernel log "PCI:0000:3b:00" (old drivers "0000:3b:00"). null: no such address.
 */
export function normalPciBusId(address: string): string | null {
  const [, domain, bus, device] = /^(?:PCI:)?(?:([0-9a-f]{4,8}):)?([0-9a-f]{2}):([0-9a-f]{2})(?:\.[0-9a-f])?$/i.exec(address.trim()) ?? [];
  if (bus === undefined || device === undefined) return null;
  return `${(domain ?? '0000').slice(-4)}:${bus}:${device}`.toLowerCase();
}
