import { describe, expect, it } from 'vitest';
import { judgeProof, named, type ProofInput } from '../../../../src/plan/installation/proof.ts';
import { aRelease } from '../../../support/machine/builders.ts';

type Previous = NonNullable<ProofInput['previous']>;

const pack = (name: string, url = `https://example.com/${name}.git`) => ({ ...({ name, url } as Previous['spec']['packs'][number]) });
const spec = (...names: string[]): ProofInput['spec'] => ({ source: aRelease().spec.source, packs: names.map((name) => pack(name)) });
const loaded = (name: string) => ({ name, state: 'loaded' as const, error: null });
const unimportable = (name: string) => ({ name, state: 'failed' as const, error: 'it does not import: no module named x' });

/** The release in place: packs One and Two, each with classes of its own. */
function inPlace(change: { packs?: readonly { name: string; state: string }[]; missingNodes?: readonly string[] } = {}): Previous {
  const release = aRelease();
  const { validated } = release;
  if (validated === null) throw new Error('it was proved');
  return {
    ...release,
    id: 'r1',
    spec: { ...release.spec, packs: [pack('One'), pack('Two')] },
    packs: (change.packs ?? [loaded('One'), loaded('Two')]) as Previous['packs'],
    validated: {
      ...validated,
      nodeClasses: { nodes: ['KSampler'], 'custom_nodes.One': ['OneA', 'OneB'], 'custom_nodes.Two': ['TwoA'] },
      missingNodes: [...(change.missingNodes ?? [])],
    },
  };
}
const whole = { nodes: ['KSampler'], 'custom_nodes.One': ['OneA', 'OneB'], 'custom_nodes.Two': ['TwoA'] };
const judged = (change: Partial<ProofInput> = {}) =>
  judgeProof({
    previous: inPlace(),
    spec: spec('One', 'Two'),
    packs: [loaded('One'), loaded('Two')],
    offered: whole,
    needed: new Map(),
    allowed: [],
    ...change,
  });
const needs = (...classes: string[]) => new Map(classes.map((name): [string, string[]] => [name, ['job.json']]));
const withoutTwo = { nodes: ['KSampler'], 'custom_nodes.One': ['OneA', 'OneB'] };

describe('the proof of a release', () => {
  const cases: readonly [
    string,
    Partial<ProofInput>,
    { refusals?: readonly RegExp[]; differences?: readonly RegExp[]; missing?: string[] },
  ][] = [
    ['has nothing against the same again', {}, {}],
    ['has nothing against more', { offered: { ...whole, 'custom_nodes.New': ['NewA'] } }, {}],
    ['has nothing against a class that moved to another module', { offered: { all: ['KSampler', 'OneA', 'OneB', 'TwoA'] } }, {}],
    [
      'refuses a pack that loaded and does not import',
      { packs: [loaded('One'), unimportable('Two')] },
      { refusals: [/^node pack Two loaded before, and it does not import: no module named x$/] },
    ],
    [
      'lets a pack fail that failed before',
      { previous: inPlace({ packs: [loaded('One'), unimportable('Two')] }), packs: [loaded('One'), unimportable('Two')] },
      {},
    ],
    ['lets a new pack fail', { spec: spec('One', 'Two', 'New'), packs: [loaded('One'), loaded('Two'), unimportable('New')] }, {}],
    [
      'lets a pack fail that comes from another URL',
      {
        spec: { ...spec('One'), packs: [pack('One'), pack('Two', 'https://example.com/fork.git')] },
        packs: [loaded('One'), unimportable('Two')],
        offered: withoutTwo,
      },
      { differences: [/TwoA \(Two\)/] },
    ],
    ['refuses the loss of a class', { offered: withoutTwo }, { refusals: [/^1 node class of release r1 is missing: TwoA \(Two\)$/] }],
    [
      'refuses the loss of several',
      { offered: { nodes: ['KSampler'], 'custom_nodes.Two': ['TwoA'] } },
      { refusals: [/^2 node classes of release r1 are missing: OneA \(One\), OneB \(One\)$/] },
    ],
    [
      'refuses the loss of a class of ComfyUI',
      { offered: { ...whole, nodes: [] } },
      { refusals: [/1 node class of release r1 is missing: KSampler$/] },
    ],
    [
      'lets ComfyUI lose classes when it is another one',
      {
        spec: { ...spec('One', 'Two'), source: { ...aRelease().spec.source, repository: 'https://example.com/other.git' } },
        offered: { ...whole, nodes: [] },
      },
      { differences: [/KSampler/] },
    ],
    [
      'lets go what was removed on purpose',
      { spec: spec('One'), packs: [loaded('One')], offered: withoutTwo },
      { differences: [/^node class that the release before had: TwoA \(Two\)$/] },
    ],
    [
      'lets it go though a workflow needs it, and says so',
      { spec: spec('One'), packs: [loaded('One')], offered: withoutTwo, needed: needs('TwoA') },
      { differences: [/TwoA \(Two\)/, /TwoA \(job\.json\)/], missing: ['TwoA'] },
    ],
    ['lets go what is allowed', { offered: withoutTwo, allowed: ['TwoA'] }, { differences: [/TwoA/] }],
    [
      'refuses what workflows newly need',
      { needed: needs('Nowhere', 'OneA') },
      { refusals: [/^workflows need node class that is missing: Nowhere \(job\.json\)$/] },
    ],
    ['tells a loss once though a workflow needs it', { offered: withoutTwo, needed: needs('TwoA') }, { refusals: [/TwoA \(Two\)/] }],
    [
      'accepts what was missing before',
      { previous: inPlace({ missingNodes: ['Nowhere'] }), needed: needs('Nowhere') },
      { differences: [/Nowhere/], missing: ['Nowhere'] },
    ],
    [
      'accepts what is allowed to be missing',
      { needed: needs('Nowhere'), allowed: ['Nowhere'] },
      { differences: [/Nowhere/], missing: ['Nowhere'] },
    ],
    [
      'expects nothing of a first installation',
      { previous: null, packs: [unimportable('One')], offered: {}, needed: needs('Nowhere') },
      { differences: [/Nowhere/], missing: ['Nowhere'] },
    ],
    [
      'expects nothing after a release that was never started',
      { previous: { ...inPlace(), validated: null }, offered: {}, needed: needs('Nowhere') },
      { differences: [/Nowhere/], missing: ['Nowhere'] },
    ],
  ];
  for (const [name, input, { refusals = [], differences = [], missing = [] }] of cases)
    it(name, () => {
      const verdict = judged(input);
      expect(verdict).toEqual({
        refusals: refusals.map((pattern) => expect.stringMatching(pattern)),
        differences: differences.map((pattern) => expect.stringMatching(pattern)),
        missingNodes: missing,
      });
    });
});

describe('names in a sentence', () => {
  it('are ten, and how many more there are', () => {
    const names = Array.from({ length: 12 }, (_, index) => `N${index}`);
    expect(named(['A'])).toBe('A');
    expect(named(names.slice(0, 10))).toBe(names.slice(0, 10).join(', '));
    expect(named(names)).toBe(`${names.slice(0, 10).join(', ')} and 2 more`);
  });
});
