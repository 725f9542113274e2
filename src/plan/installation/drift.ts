import type { ModelStatus } from '../../domain/health/health.ts';
import type { Drift } from '../../domain/installation/drift.ts';
import { type LockedPackage, type LockedSource, requirementLine } from '../../domain/installation/lock.ts';

/** Folders of ComfyUI that the installation replaces by links (engine/installation/links.ts). */
const LINKED = ['models', 'input', 'output', 'user'];
const SHOWN = 5;

/**
 * A source beside what the lock has of it.
 * @param head the commit that a checkout says it stands at, which hides nothing; null: it says none
 * @param changed null: nobody recorded what was installed
 */
export function sourceDrift(
  part: 'core' | 'pack',
  name: string,
  source: LockedSource,
  head: string | null,
  changed: readonly string[] | null,
): Drift[] {
  const isElsewhere = source.kind === 'git' && head !== null && head !== source.commit;
  const message = isElsewhere ? `it is at ${head.slice(0, 10)}, locked is ${source.commit.slice(0, 10)}` : null;
  const counted = changed?.filter((path) => part !== 'core' || !LINKED.some((folder) => path.startsWith(`${folder}/`))) ?? null;
  return [...(message === null ? [] : [{ part, name, message }]), ...fileDrift(part, name, counted)];
}

/** What lies in a release for people and is not as the agent wrote it. */
export const copyDrift = (release: string, names: readonly string[]): Drift[] =>
  names.map((name) => ({ part: 'core', name, message: `changed by hand in release ${release}; the agent goes by its own record` }));

function fileDrift(part: 'core' | 'pack', name: string, changed: readonly string[] | null): Drift[] {
  if (changed === null) return [{ part, name, message: 'its files are gone, or the record of them' }];
  if (changed.length === 0) return [];
  const more = changed.length > SHOWN ? ` and ${changed.length - SHOWN} more` : '';
  return [{ part, name, message: `changed by hand: ${changed.slice(0, SHOWN).join(', ')}${more}` }];
}

/** Packages that are there beside those that were locked. */
export function packageDrift(locked: readonly LockedPackage[], found: Readonly<Record<string, string>>): Drift[] {
  const names = new Set(locked.map((each) => each.name));
  const of = (name: string, message: string): Drift => ({ part: 'package', name, message });
  return [
    ...locked.flatMap((each) => {
      const version = found[each.name];
      if (version === undefined) return [of(each.name, `${requirementLine(each)} is missing`)];
      return each.version === null || each.version === version ? [] : [of(each.name, `it is ${version}, locked is ${each.version}`)];
    }),
    ...Object.entries(found).flatMap(([name, version]) => (names.has(name) ? [] : [of(name, `${version} was added by hand`)])),
  ];
}

export const modelDrift = (models: readonly ModelStatus[]): Drift[] =>
  models.flatMap((model) =>
    model.state === 'missing' || model.state === 'corrupt'
      ? [{ part: 'model' as const, name: model.path, message: `${model.state}: ${model.reason ?? ''}` }]
      : [],
  );
