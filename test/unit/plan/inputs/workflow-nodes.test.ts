import { describe, expect, it } from 'vitest';
import { classesOfGraph } from '../../../../src/plan/inputs/workflow-nodes.ts';

const told = { 'Node name for S&R': 'x' };
const node = (type: string, more: object = {}) => ({ id: 1, type, mode: 0, properties: told, ...more });

describe('node classes that a graph needs', () => {
  const cases: readonly [string, unknown, readonly string[]][] = [
    ['API format', { 1: { class_type: 'B', inputs: {} }, 2: { class_type: 'A' }, 3: { class_type: 'B' } }, ['A', 'B']],
    ['API format as it is posted', { prompt: { 1: { class_type: 'A' } }, client_id: 'me', extra_data: {} }, ['A']],
    ['API format with other keys', { 1: { class_type: 'A' }, version: 1, note: 'text', 2: { class_type: 7 } }, ['A']],
    ['editor format', { nodes: [node('B'), node('A'), node('B')] }, ['A', 'B']],
    ['muted and bypassed nodes', { nodes: [node('A'), node('B', { mode: 2 }), node('C', { mode: 4 })] }, ['A']],
    ['no mode at all', { nodes: [node('A', { mode: undefined })] }, ['A']],
    [
      'nodes of the editor itself',
      { nodes: ['Note', 'MarkdownNote', 'Reroute', 'PrimitiveNode', 'GetNode', 'SetNode'].map((type) => node(type)) },
      [],
    ],
    ['a pack that lives in the editor', { nodes: [node('Fast Groups Bypasser (rgthree)')] }, []],
    ['nodes that no server told of', { nodes: [node('A'), node('EditorThing', { properties: {} })] }, ['A']],
    ['a graph of an old editor', { nodes: [node('A', { properties: {} }), node('B', { properties: undefined })] }, ['A', 'B']],
    [
      'subgraphs',
      { nodes: [node('uuid-1', { properties: {} }), node('A')], definitions: { subgraphs: [{ id: 'uuid-1', nodes: [node('Inner')] }] } },
      ['A', 'Inner'],
    ],
    [
      'subgraphs in subgraphs, once',
      {
        nodes: [node('outer', { properties: {} }), node('outer', { properties: {} })],
        definitions: {
          subgraphs: [
            { id: 'outer', nodes: [node('inner', { properties: {} }), node('A')] },
            { id: 'inner', nodes: [node('B'), node('outer', { properties: {} })] },
          ],
        },
      },
      ['A', 'B'],
    ],
    [
      'subgraphs that are bypassed, or used nowhere',
      {
        nodes: [node('uuid-1', { properties: {}, mode: 4 }), node('A')],
        definitions: {
          subgraphs: [
            { id: 'uuid-1', nodes: [node('Inner')] },
            { id: 'uuid-2', nodes: [node('Unused')] },
          ],
        },
      },
      ['A'],
    ],
    ['group nodes', { nodes: [node('workflow>mine'), node('workflow/mine'), node('A')] }, ['A']],
    ['no nodes', { nodes: [] }, []],
    ['what is no graph', [1, 2], []],
    ['nothing', null, []],
    ['text', 'graph', []],
    ['damaged nodes', { nodes: [null, 3, 'x', { id: 1 }, node('A')], definitions: { subgraphs: 3 } }, ['A']],
  ];
  for (const [name, graph, classes] of cases)
    it(name, () => {
      expect(classesOfGraph(graph)).toEqual(classes);
    });
});
