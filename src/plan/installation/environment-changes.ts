/** What a script or an import did to the environment, and what becomes of it. */
import type { LockedPackage } from '../../domain/installation/lock.ts';
import { parseRequirement } from '../../domain/installation/requirements.ts';
import { meetsSpecifier } from './specifier.ts';

/** name -> version. */
export type InstalledPackages = Readonly<Record<string, string>>;

export interface EnvironmentChanges {
  readonly added: readonly { readonly name: string; readonly version: string }[];
  readonly changed: readonly { readonly name: string; readonly before: string; readonly after: string }[];
  readonly removed: readonly { readonly name: string; readonly version: string }[];
}

/** Differences by name, in order of the names. */
export function environmentChanges(before: InstalledPackages, after: InstalledPackages): EnvironmentChanges {
  const names = [...new Set([...Object.keys(before), ...Object.keys(after)])].sort();
  const added: { name: string; version: string }[] = [];
  const changed: { name: string; before: string; after: string }[] = [];
  const removed: { name: string; version: string }[] = [];
  for (const name of names) {
    const [was, is] = [before[name], after[name]];
    if (was === undefined && is !== undefined) added.push({ name, version: is });
    else if (was !== undefined && is === undefined) removed.push({ name, version: was });
    else if (was !== undefined && is !== undefined && was !== is) changed.push({ name, before: was, after: is });
  }
  return { added, changed, removed };
}

export interface Containment {
  /** New packages that may stay: they belong to the lock from now on. */
  readonly adopt: readonly string[];
  /** Locked packages to put back as they are locked. */
  readonly restore: readonly LockedPackage[];
  /** New packages that a constraint forbids. */
  readonly remove: readonly string[];
  /** One sentence for each change but plain additions, `by` as its subject. */
  readonly words: readonly string[];
}

const SHOWN = 10;

/**
 * Additions that meet the constraints stay, everything that is locked goes back to what is locked.
 * @param by "install.py": the subject of the words
 */
export function contain(
  { added, changed, removed }: EnvironmentChanges,
  locked: readonly LockedPackage[],
  constraints: readonly string[],
  by: string,
): Containment {
  const pins = new Map(locked.map((each) => [each.name, each]));
  const forbidden = new Map(added.flatMap((each) => forbiddingLines(each, constraints).map((line) => [each.name, line] as const)));
  const adopted = added.filter(({ name }) => !forbidden.has(name));
  const moved = changed.filter(({ name }) => !pins.has(name));
  const lost = removed.filter(({ name }) => !pins.has(name));
  return {
    adopt: [...adopted, ...moved].map(({ name }) => name),
    restore: [...changed, ...removed].flatMap(({ name }) => pins.get(name) ?? []),
    remove: [...forbidden.keys()],
    words: [
      ...changed.map(
        ({ name, before, after }) =>
          `${by} replaced ${name} ${before} by ${after}${pins.has(name) ? ': undone' : ', which nothing asks for: kept'}`,
      ),
      ...removed.map(({ name, version }) => `${by} removed ${name} ${version}${lost.some((each) => each.name === name) ? '' : ': undone'}`),
      ...added.flatMap(({ name, version }) =>
        forbidden.has(name) ? [`${by} added ${name} ${version}, against the constraint ${forbidden.get(name)}: undone`] : [],
      ),
    ],
  };
}

/** The same for additions that stay, once it is known which of them the lock can hold. */
export function adoptionWords({ added }: EnvironmentChanges, { by, adopted, removed }: AdoptionOutcome): string[] {
  const stay = added.filter(({ name }) => !removed.includes(name));
  const words = (kept: typeof stay): string => list(kept.map(({ name, version }) => `${name} ${version}`));
  const [locked, strangers] = [stay.filter(({ name }) => adopted.has(name)), stay.filter(({ name }) => !adopted.has(name))];
  return [
    ...(locked.length === 0 ? [] : [`${by} added ${words(locked)}: adopted`]),
    ...(strangers.length === 0
      ? []
      : [`${by} added ${words(strangers)}, which the configured package indexes do not have: kept, not locked`]),
  ];
}

export interface AdoptionOutcome {
  readonly by: string;
  readonly adopted: ReadonlySet<string>;
  readonly removed: readonly string[];
}

const list = (words: readonly string[]): string =>
  words.length <= SHOWN ? words.join(', ') : `${words.slice(0, SHOWN).join(', ')} and ${words.length - SHOWN} more`;

/** The constraint that a new package does not meet; what is not understood forbids nothing. */
function forbiddingLines({ name, version }: { readonly name: string; readonly version: string }, constraints: readonly string[]): string[] {
  return constraints.filter((constraint) => {
    const requirement = parseRequirement(constraint);
    return requirement.kind === 'package' && requirement.name === name && meetsSpecifier(version, requirement.specifier) === false;
  });
}
