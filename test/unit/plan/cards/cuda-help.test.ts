import { expect, it } from 'vitest';
import { cudaHelp } from '../../../../src/plan/cards/cuda-help.ts';

it.each([
  ['RuntimeError: Unexpected error from cudaGetDeviceCount(). Error 802: system not yet initialized', 'nvidia-fabricmanager'],
  ['torch.AcceleratorError: CUDA error: system not yet initialized', 'nvidia-fabricmanager'],
  ['Error 803: system has unsupported display driver / cuda driver combination', 'reboot'],
  ['RuntimeError: CUDA error: an illegal memory access was encountered', null],
  ['line 802 of the log', null],
])('%j: %j', (words, help) => {
  if (help === null) expect(cudaHelp(words)).toBeNull();
  else expect(cudaHelp(words)).toContain(help);
});
