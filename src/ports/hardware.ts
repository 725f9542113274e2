import type { Gpu, GpuReading, MachineFacts } from '../domain/cards/gpu.ts';

export interface Hardware {
  /**
   * One nvidia-smi reading, within the time limit. Where the driver ends at a card that it cannot reach, those of `before`
   * (as seen earlier, by whomever) are asked for one by one. @throws AgentError GPU_QUERY_FAILED
   */
  gpus(before?: readonly Pick<Gpu, 'uuid' | 'pciBusId'>[]): Promise<GpuReading>;
  /** Facts that programs must be asked for: up to seconds. */
  machine(root: string): Promise<MachineFacts>;
  /** Known without asking anybody. */
  hostname(): string;
}
