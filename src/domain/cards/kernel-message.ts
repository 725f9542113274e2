/** One message of the kernel log. */
export interface KernelMessage {
  /** Epoch ms. */
  readonly at: number;
  readonly text: string;
}
