import { z } from 'zod';

/** The `gpu` section of the configuration. Durations are in milliseconds. */

const duration = z.int().min(0);
const text = z.string().min(1);

export const GpuConfig = z.strictObject({
  mode: z.enum(['actual', 'mock', 'cpu']).default('actual').describe('mock and cpu run CPU instances with the same names and ports'),
  count: z.int().min(1).max(64).nullable().default(null).describe('cap on real cards, or number of mock ones'),
  mockCount: z.int().min(1).max(64).nullable().default(null).describe('number of mock cards; wins over count in mock mode'),
  cards: z
    .array(z.union([z.int().min(0).max(65_535), text]))
    .max(64)
    .nullable()
    .default(null)
    .describe('only these cards, by UUID (or its beginning) or slot as `agent gpus` numbers them; [] is none'),
  cudaVisibleDevices: z
    .string()
    .max(4_096)
    .nullable()
    .default(null)
    .describe('cards that the agent may use, as CUDA_VISIBLE_DEVICES of its environment has them; empty or -1 is none'),
  nvidiaVisibleDevices: z
    .string()
    .max(4_096)
    .nullable()
    .default(null)
    .describe('the same as the container runtime has it: all, none, void (it takes no part), or a list'),
  mig: z
    .enum(['first', 'all'])
    .default('first')
    .describe('of a card that is divided (MIG): an instance on its first device, or one on each'),
  pin: z.enum(['uuid', 'index']).default('uuid').describe('what CUDA_VISIBLE_DEVICES holds'),
  foreignMemoryMb: z
    .int()
    .min(0)
    .default(1024)
    .describe('a compute process that is not ours and holds more of a card than this is reported'),
  foreignProcess: z.enum(['hold', 'warn']).default('hold'),
  keptMemoryMb: z
    .int()
    .min(0)
    .default(2_048)
    .describe('more than this on a card after the end of its process, or in an idle process after /free, is called not given back'),
  periodMs: z.int().min(500).default(10_000).describe('how often the cards are read; what two readings agree on is acted on'),
  queryTimeoutMs: duration.default(5_000).describe('limit on each nvidia-smi call, so that a hung driver cannot hang the agent'),
});
