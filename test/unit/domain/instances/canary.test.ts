import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { canaryNodeClasses, parseApiGraph, prepareCanary } from '../../../../src/domain/instances/canary.ts';

const shipped = JSON.parse(readFileSync(resolve(import.meta.dirname, '../../../../workflows/canary.json'), 'utf8')) as object;

describe('prepareCanary', () => {
  it('changes the colour of the shipped graph and nothing else', () => {
    const before = structuredClone(shipped);
    const prepared = prepareCanary(shipped, 123_456);
    expect(prepared['1']?.inputs).toEqual({ width: 64, height: 64, batch_size: 1, color: 123_456 });
    expect(prepared).toEqual({ ...shipped, 1: prepared['1'] });
    expect(shipped).toEqual(before);
  });

  it('gives another graph for each colour, all of them valid', () => {
    fc.assert(
      fc.property(fc.integer(), fc.integer(), (a, b) => {
        const [first, second] = [prepareCanary(shipped, a), prepareCanary(shipped, b)];
        const color = first['1']?.inputs['color'];
        expect(color).toBeGreaterThanOrEqual(0);
        expect(color).toBeLessThanOrEqual(0xffffff);
        const same = (a - b) % 0x1000000 === 0;
        expect(JSON.stringify(first) === JSON.stringify(second)).toBe(same);
      }),
    );
  });

  it('renews seeds of a graph without a picture to colour, but not seeds that come from a node', () => {
    const graph = {
      1: { class_type: 'KSampler', inputs: { seed: 5, steps: 1 } },
      2: { class_type: 'KSamplerAdvanced', inputs: { noise_seed: ['1', 0] } },
    };
    expect(prepareCanary(graph, 9)).toEqual({ 1: { class_type: 'KSampler', inputs: { seed: 9, steps: 1 } }, 2: graph[2] });
  });

  it.each([
    ['the editor format', { nodes: [{ id: 1, type: 'EmptyImage' }], links: [] }],
    ['an empty graph', {}],
    ['a list', []],
    ['a node without inputs', { 1: { class_type: 'EmptyImage' } }],
  ])('refuses %s', (_what, graph) => {
    expect(() => prepareCanary(graph, 1)).toThrow(
      expect.objectContaining({ code: 'CONFIG_INVALID', help: expect.stringContaining('Export (API)') }),
    );
    expect(() => parseApiGraph(graph, 'workflows/x.json')).toThrow(/^workflows\/x\.json is no graph in API format/);
  });
});

describe('canaryNodeClasses', () => {
  it('lists each class once', () => {
    expect(canaryNodeClasses(shipped)).toEqual(['EmptyImage', 'ImageBlur', 'PreviewImage']);
    expect(
      canaryNodeClasses({ a: { class_type: 'B', inputs: {} }, b: { class_type: 'A', inputs: {} }, c: { class_type: 'B', inputs: {} } }),
    ).toEqual(['A', 'B']);
  });
});
