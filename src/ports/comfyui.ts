export interface ComfyQueue {
  readonly running: number;
  readonly pending: number;
  readonly runningIds: readonly string[];
}

export interface ComfyHistoryEntry {
  readonly completed: boolean;
  readonly status: 'success' | 'error';
  readonly error: { readonly nodeType: string | null; readonly exceptionType: string | null; readonly message: string } | null;
  /** File references by node id. */
  readonly images: readonly { readonly filename: string; readonly subfolder: string; readonly type: string }[];
}

/** One ComfyUI server. A network fault rejects with AgentError; a fault it reports itself is a value. */
export interface Comfy {
  /** GET /prompt: the cheapest sign of life. */
  ping(baseUrl: string, timeoutMs: number): Promise<{ readonly queueRemaining: number }>;
  queue(baseUrl: string, timeoutMs: number): Promise<ComfyQueue>;
  systemStats(
    baseUrl: string,
    timeoutMs: number,
  ): Promise<{
    readonly comfyuiVersion: string | null;
    readonly pythonVersion: string | null;
    readonly torchVersion: string | null;
    readonly devices: readonly { readonly name: string; readonly type: string; readonly vramTotal: number }[];
  }>;
  /** Node classes by python_module. */
  nodeClasses(baseUrl: string, timeoutMs: number): Promise<ReadonlyMap<string, readonly string[]>>;
  submit(baseUrl: string, graph: object, clientId: string, timeoutMs: number): Promise<{ readonly promptId: string }>;
  history(baseUrl: string, promptId: string, timeoutMs: number): Promise<ComfyHistoryEntry | null>;
  forget(baseUrl: string, promptId: string, timeoutMs: number): Promise<void>;
  /** POST /free: the worker thread gives back cached models and memory between jobs. */
  free(baseUrl: string, timeoutMs: number): Promise<void>;
  /** First bytes of an output file, to see that it is really there. */
  view(
    baseUrl: string,
    file: { filename: string; subfolder: string; type: string },
    timeoutMs: number,
  ): Promise<{ readonly contentType: string; readonly bytes: Uint8Array }>;
  /** Opens /ws, waits for the greeting and sees that the connection stays for `holdMs`; rejects when it does not. */
  webSocket(baseUrl: string, timeoutMs: number, holdMs: number): Promise<void>;
  /** Which WebSocket protocol it speaks: the fork greets with `client_id`, upstream does not answer `ping`. */
  protocol(baseUrl: string, timeoutMs: number): Promise<'fork' | 'upstream'>;
}
