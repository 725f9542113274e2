import { describe, expect, it } from 'vitest';
import { gpuOfInstance, instanceName, instanceTarget, isCalledInstance, processTarget } from '../../../src/domain/identity.ts';

describe('names', () => {
  it('of an instance lead back to its slot', () => {
    for (const gpu of [0, 7, 10, 127]) expect(gpuOfInstance(instanceName(gpu))).toBe(gpu);
    expect([instanceName(3), instanceTarget(3), processTarget('x')]).toEqual(['comfyui-gpu3', 'instance 3', 'process x']);
  });

  it.each(['comfyui-gpu', 'comfyui-gpu01', 'comfyui-gpu1000', 'comfyui-gpu1x', 'xcomfyui-gpu1', 'comfyui-gpu-1', 'gpu1', ''])(
    '"%s" is the name of no instance',
    (name) => expect(gpuOfInstance(name)).toBeNull(),
  );

  it("that look like an instance are the agent's to judge", () => {
    expect(['comfyui-gpu0', 'comfyui-gpu0-old', 'mine'].map(isCalledInstance)).toEqual([true, true, false]);
  });
});
