import { describe, expect, it } from 'vitest';
import {
  chooseTorch,
  coreRequirements,
  environmentConstraints,
  isTorchFamily,
  KNOWN_BAD,
  packConstraints,
} from '../../../../src/plan/installation/python.ts';

describe('torch choice', () => {
  it.each([
    ['595.10', 'cu130'],
    ['580.65.06', 'cu130'],
    ['580', 'cu130'],
    ['579.99', 'cu128'],
    ['570.26', 'cu128'],
    ['560.35.03', 'cu126'],
    ['525.60.13', 'cu126'],
    ['525.60.12', 'cu118'],
    ['450.80.02', 'cu118'],
  ])('driver %s: %s', (driverVersion, backend) => {
    expect(chooseTorch({ setting: 'auto', driverVersion, hasGpu: true })).toMatchObject({ backend, pin: null, warning: null });
  });

  it('a driver too old for CUDA gives the CPU build, with a warning that says so', () => {
    const choice = chooseTorch({ setting: 'auto', driverVersion: '450.80.01', hasGpu: true });
    expect(choice.backend).toBe('cpu');
    expect(choice.warning).toContain('450.80.01');
  });

  it('no GPU gives the CPU build; an unknown driver is never taken for none', () => {
    expect(chooseTorch({ setting: 'auto', driverVersion: null, hasGpu: false })).toMatchObject({ backend: 'cpu', warning: null });
    const unknown = chooseTorch({ setting: 'auto', driverVersion: null, hasGpu: true });
    expect(unknown.backend).toBe('cu126');
    expect(unknown.warning).not.toBeNull();
  });

  it.each([
    ['cpu', 'cpu', null],
    ['cu128', 'cu128', null],
    ['2.13.0+cpu', null, 'torch==2.13.0+cpu'],
    ['2.7.1+cu128', null, 'torch==2.7.1+cu128'],
    ['torch==2.13.0+cpu', null, 'torch==2.13.0+cpu'],
    ['2.7.1', null, 'torch==2.7.1'],
  ])('setting %s', (setting, backend, pin) => {
    expect(chooseTorch({ setting, driverVersion: '580', hasGpu: true })).toMatchObject({ backend, pin });
  });
});

describe('core requirements and constraints', () => {
  it('adds what ComfyUI forgets to list, once', () => {
    expect(coreRequirements('torch\nnumpy\n', [])).toEqual(['requests', 'pip']);
    expect(coreRequirements('torch\nRequests>=2\n', ['pip<26', 'extra'])).toEqual(['pip<26', 'extra']);
  });

  it('adds nothing to a file that asks for nothing', () => {
    expect(coreRequirements('# nothing\n', [])).toEqual([]);
    expect(coreRequirements('', ['mine'])).toEqual(['mine']);
  });

  it('keeps known-bad versions out and puts the pin before the operator', () => {
    const torch = chooseTorch({ setting: '2.13.0+cpu', driverVersion: null, hasGpu: false });
    expect(environmentConstraints(torch, ['numpy<2'])).toEqual([...KNOWN_BAD, 'torch==2.13.0+cpu', 'numpy<2']);
    expect(KNOWN_BAD).toContain('aiohttp!=3.14.2,!=3.14.3');
  });

  it('holds torch and its family and the core packages, leaves the rest to its ranges', () => {
    const pins = [
      'torch==2.9.0+cu128',
      'torchvision==0.24.0',
      'nvidia-cublas-cu12==12.8',
      'triton==3.5',
      'numpy==2.1.0',
      'comfyui-frontend-package==1.27.10',
      'x @ git+file:///x@00',
    ];
    expect(packConstraints(pins)).toEqual([
      'torch==2.9.0+cu128',
      'torchvision==0.24.0',
      'nvidia-cublas-cu12==12.8',
      'triton==3.5',
      'comfyui-frontend-package==1.27.10',
    ]);
    expect(packConstraints(pins, 'all')).toEqual(pins);
  });

  it.each([
    ['torch', true],
    ['Torchvision', true],
    ['nvidia_cudnn_cu12', true],
    ['torchsde', false],
    ['numpy', false],
  ])('torch family: %s %s', (name, expected) => {
    expect(isTorchFamily(name)).toBe(expected);
  });
});
