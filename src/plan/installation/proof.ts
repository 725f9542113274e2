import type { InstallationSpec, PackStatus, Release } from '../../domain/installation/release.ts';

export type NodeClasses = Readonly<Record<string, readonly string[]>>;

export interface ProofInput {
  /** The release in place; null on the first installation. */
  readonly previous: Pick<Release, 'id' | 'spec' | 'packs' | 'validated'> | null;
  /** What the new release was asked to be. */
  readonly spec: Pick<InstallationSpec, 'source' | 'packs'>;
  /** Packs of the new release with the result of their import. */
  readonly packs: readonly Pick<PackStatus, 'name' | 'state' | 'error'>[];
  /** Node classes of the new release by python_module. */
  readonly offered: NodeClasses;
  /** Classes that graphs in workflows/ need, with the names of those graphs. */
  readonly needed: ReadonlyMap<string, readonly string[]>;
  /** install.allowMissingNodes */
  readonly allowed: readonly string[];
}

export interface ProofVerdict {
  /** Why the release may not come into use, one clause each; empty: it may. */
  readonly refusals: readonly string[];
  /** What is gone on purpose, or was never there. */
  readonly differences: readonly string[];
  /** Classes that graphs need and that are not there, accepted. */
  readonly missingNodes: readonly string[];
}

const NAMED = 10;

/** A, B, C and 4 more. */
export function named(names: readonly string[]): string {
  const rest = names.length - NAMED;
  return rest > 0 ? `${names.slice(0, NAMED).join(', ')} and ${rest} more` : names.join(', ');
}

/**
 * Whether a new release can do what the one in place can and what the installed workflows need. Packs that are no longer
 * asked for, or come from another URL, may take their classes with them; that is told.
 */
export function judgeProof({ previous, spec, packs, offered, needed, allowed }: ProofInput): ProofVerdict {
  const refusals: string[] = [];
  const differences: string[] = [];
  const has = new Set(Object.values(offered).flat());
  const waived = new Set(allowed);

  for (const pack of packs) {
    const before = previous?.packs.find((candidate) => candidate.name === pack.name);
    if (
      pack.state === 'failed' &&
      before?.state === 'loaded' &&
      isSamePack(previous, spec, pack.name) &&
      /does not import/.test(pack.error ?? '')
    )
      refusals.push(`node pack ${pack.name} loaded before, and ${pack.error ?? 'does not import'}`);
  }

  const gone = Object.entries(previous?.validated?.nodeClasses ?? {}).flatMap(([module, classes]) =>
    classes.filter((name) => !has.has(name)).map((name) => ({ name, owner: ownerOf(previous, spec, module) })),
  );
  const lost = gone.filter(({ name, owner }) => owner.isKept && !waived.has(name));
  const removed = gone.filter(({ name, owner }) => !owner.isKept || waived.has(name));
  if (lost.length > 0)
    refusals.push(
      `${lost.length} node ${plural(lost)} of release ${previous?.id} ${lost.length === 1 ? 'is' : 'are'} missing: ${told(lost)}`,
    );
  if (removed.length > 0) differences.push(`node ${plural(removed)} that the release before had: ${told(removed)}`);

  const goneOnPurpose = new Set(removed.map(({ name }) => name));
  const isLost = new Set(lost.map(({ name }) => name));
  const missing = [...needed].filter(([name]) => !has.has(name) && !isLost.has(name));
  // What was missing when the release in place was proved is nothing new; of a first installation nothing was expected yet.
  const known = new Set(previous?.validated?.missingNodes ?? []);
  const isFirst = previous === null || Object.keys(previous.validated?.nodeClasses ?? {}).length === 0;
  const unmet = missing.filter(([name]) => !isFirst && !known.has(name) && !goneOnPurpose.has(name) && !waived.has(name));
  const accepted = missing.filter((entry) => !unmet.includes(entry));
  if (unmet.length > 0)
    refusals.push(`workflows need node ${plural(unmet)} that ${unmet.length === 1 ? 'is' : 'are'} missing: ${needs(unmet)}`);
  if (accepted.length > 0) differences.push(`workflows ask for node ${plural(accepted)} that no installed pack has: ${needs(accepted)}`);
  return { refusals, differences, missingNodes: accepted.map(([name]) => name).sort() };
}

interface Gone {
  readonly name: string;
  readonly owner: { readonly pack: string | null; readonly isKept: boolean };
}

const plural = (list: readonly unknown[]): string => (list.length === 1 ? 'class' : 'classes');
const told = (list: readonly Gone[]): string =>
  named(list.map(({ name, owner }) => (owner.pack === null ? name : `${name} (${owner.pack})`)));
const needs = (list: readonly (readonly [string, readonly string[]])[]): string =>
  named(list.map(([name, by]) => `${name} (${by[0] ?? ''})`));

/** Who a module belongs to, and whether the new release was asked to have it still. */
function ownerOf(previous: ProofInput['previous'], spec: ProofInput['spec'], module: string): Gone['owner'] {
  const name = /^custom_nodes\.(.+)$/.exec(module)?.[1];
  if (name === undefined || previous === null) return { pack: null, isKept: previous?.spec.source.repository === spec.source.repository };
  return { pack: name, isKept: isSamePack(previous, spec, name) };
}

/** Asked for by both, from the same place. What no list names (folders outside the release) is nobody's promise. */
function isSamePack(previous: ProofInput['previous'], spec: ProofInput['spec'], name: string): boolean {
  const before = previous?.spec.packs.find((pack) => pack.name === name);
  const after = spec.packs.find((pack) => pack.name === name);
  return before !== undefined && after !== undefined && before.url === after.url;
}
