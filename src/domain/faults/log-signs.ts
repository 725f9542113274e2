/**
 * What ComfyUI's log says about faults that HTTP does not show (reference comfyui.md section 3). Only whole lines in
 * ComfyUI's and Python's own form count: what a user's prompt or a node prints in the middle of a line is no sign.
 */
export interface LogSigns {
  /** The worker thread ended: Python's words, or those of the witness (plan/witness.ts). */
  readonly workerDead: readonly string[] | null;
  /** An error after which no CUDA call of the process succeeds any more. */
  readonly cudaError: string | null;
  /** Another error of CUDA or its libraries: perhaps the job's own fault. */
  readonly suspect: string | null;
  readonly outOfMemory: string | null;
  /** Anything but prompts that were taken in: somebody works. */
  readonly moved: boolean;
}

/** Written by the witness when a thread was ended by sys.exit, of which Python says nothing. */
export const WITNESS_PREFIX = '[agent] thread ended by SystemExit: ';

/** Errors that the CUDA manual calls fatal for the context: only a new process heals them. */
const STICKY = [
  'an illegal memory access was encountered',
  'device-side assert triggered',
  'unspecified launch failure',
  'the launch timed out and was terminated',
  'misaligned address',
  'an illegal instruction was encountered',
  'invalid program counter',
  'operation not supported on global/shared address space',
  'hardware stack error',
  'uncorrectable ECC error encountered',
  'uncorrectable NVLink error detected',
  'unknown error',
] as const;

const MARKER = '!!! Exception during processing !!! ';
const THREAD = /^Exception in thread Thread-\d+(?: \(prompt_worker\))?:/;
const ERROR_LINE = /^(?:(?:[A-Za-z_]\w*\.)*(?:AcceleratorError|RuntimeError|OutOfMemoryError|DeferredCudaCallError): )/;
const OUT_OF_MEMORY = /^(?:Got an OOM, unloading all loaded models|(?:torch\.)?(?:cuda\.)?OutOfMemoryError: )/;
const LIBRARY = /^(?:CUDA error: |CUBLAS_STATUS_|cuDNN error: |CUDNN_STATUS_|NCCL error)/;
/** Lines kept of the traceback of a dead worker. */
const TRACEBACK_LINES = 40;
const LINE_LIMIT = 500;

export function readLogSigns(text: string): LogSigns {
  const lines = text.split(/\r\n|\n|\r/);
  let workerDead: readonly string[] | null = null;
  let cudaError: string | null = null;
  let suspect: string | null = null;
  let outOfMemory: string | null = null;
  let moved = false;
  for (const [index, line] of lines.entries()) {
    if (line !== '' && line !== 'got prompt') moved = true;
    if (isEndOfWorker(line))
      workerDead = lines
        .slice(index, index + TRACEBACK_LINES)
        .filter((each) => each !== '')
        .map(cut);
    if (OUT_OF_MEMORY.test(line)) outOfMemory = cut(line);
    const message = messageOf(line);
    if (message === null) continue;
    if (STICKY.some((words) => message.startsWith(`CUDA error: ${words}`))) cudaError = cut(line);
    else if (LIBRARY.test(message) && !message.includes('out of memory')) suspect = cut(line);
  }
  return { workerDead, cudaError, suspect, outOfMemory, moved };
}

/** Whether the message of a failed job tells of a context that is lost. */
export const isStickyCudaError = (message: string): boolean => STICKY.some((words) => message.includes(`CUDA error: ${words}`));

const isEndOfWorker = (line: string): boolean =>
  (THREAD.test(line) && line.includes('(prompt_worker)')) || (line.startsWith(WITNESS_PREFIX) && line.includes('(prompt_worker)'));

/** What stands after ComfyUI's marker, or after the type of an exception at the begin of a line. */
function messageOf(line: string): string | null {
  if (line.startsWith(MARKER)) return line.slice(MARKER.length);
  const type = ERROR_LINE.exec(line)?.[0];
  return type === undefined ? null : line.slice(type.length);
}

const cut = (line: string): string => line.slice(0, LINE_LIMIT);
