import { describe, expect, it } from 'vitest';
import { isStickyCudaError, readLogSigns } from '../../../../src/domain/faults/log-signs.ts';

describe('signs in the log of ComfyUI', () => {
  it.each([
    ['Exception in thread Thread-1 (prompt_worker):', true],
    ['Exception in thread Thread-12 (prompt_worker):', true],
    ['[agent] thread ended by SystemExit: Thread-1 (prompt_worker)', true],
    ['[agent] thread ended by SystemExit: Thread-5 (download)', false],
    ['Exception in thread Thread-7 (fetch_list):', false],
    ['a node printed: Exception in thread Thread-1 (prompt_worker):', false],
    ["invalid prompt: {'message': 'Exception in thread Thread-1 (prompt_worker):'}", false],
  ])('the worker thread: %s', (line, expected) => {
    expect(readLogSigns(`x\n${line}\ny\n`).workerDead !== null).toBe(expected);
  });

  it('keeps the traceback that follows', () => {
    const lines = ['Exception in thread Thread-1 (prompt_worker):', 'Traceback (most recent call last):', '  File "main.py"'];
    expect(readLogSigns(`before\n${lines.join('\n')}\n`).workerDead?.slice(0, 3)).toEqual(lines);
  });

  it.each([
    ['!!! Exception during processing !!! CUDA error: an illegal memory access was encountered', 'cudaError'],
    ['torch.AcceleratorError: CUDA error: device-side assert triggered', 'cudaError'],
    ['RuntimeError: CUDA error: unspecified launch failure', 'cudaError'],
    ['RuntimeError: CUDA error: uncorrectable ECC error encountered', 'cudaError'],
    ['RuntimeError: CUDA error: no kernel image is available for execution on the device', 'suspect'],
    ['!!! Exception during processing !!! CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`', 'suspect'],
    ['RuntimeError: cuDNN error: CUDNN_STATUS_EXECUTION_FAILED', 'suspect'],
    ['Got an OOM, unloading all loaded models.', 'outOfMemory'],
    ['torch.OutOfMemoryError: Allocation on device 0 would exceed allowed memory. (out of memory)', 'outOfMemory'],
    ['torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB', 'outOfMemory'],
    ['RuntimeError: CUDA error: out of memory', null],
    ['!!! Exception during processing !!! the prompt says CUDA error: an illegal memory access was encountered', null],
    ["invalid prompt: {'details': 'RuntimeError: CUDA error: device-side assert triggered'}", null],
    ['user wrote: torch.AcceleratorError: CUDA error: device-side assert triggered', null],
    ['!!! Exception during processing !!! list index out of range', null],
  ] as const)('CUDA: %s', (line, expected) => {
    const signs = readLogSigns(`${line}\n`);
    for (const name of ['cudaError', 'suspect', 'outOfMemory'] as const) expect(signs[name], name).toBe(name === expected ? line : null);
  });

  it('a prompt that was taken in is no progress, a bar is', () => {
    expect(readLogSigns('got prompt\ngot prompt\n').moved).toBe(false);
    expect(readLogSigns(' 10%|#         | 2/20\r 15%|#         | 3/20\r').moved).toBe(true);
  });

  it('knows the message of a job that failed', () => {
    expect(isStickyCudaError('the canary failed in ImageBlur: RuntimeError: CUDA error: an illegal memory access was encountered')).toBe(
      true,
    );
    expect(isStickyCudaError('the canary failed in ImageBlur: torch.OutOfMemoryError: Allocation on device')).toBe(false);
  });
});
