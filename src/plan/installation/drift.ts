import type { ModelStatus } from '../../domain/health/health.ts';
import type { Drift } from '../../domain/installation/drift.ts';
import { type LockedPackage, type LockedSource, requirementLine } from '../../domain/installation/lock.ts';

/** Folders of ComfyUI that the installation replaces by links (engine/installation/links.ts). */
const LINKED = ['models', 'input', 'output', 'user'];
const SHOWN = 5;

/** A checkout beside its pin. @param found null: it is no work tree any more */
export function sourceDrift(
  part: 'core' | 'pack',
  name: string,
  source: LockedSource,
  found: { readonly commit: string; readonly changed: readonly string[] } | null,
): Drift[] {
  if (source.kind !== 'git') return [];
  if (found === null) return [{ part, name, message: 'its work tree is gone or damaged' }];
  const drift: Drift[] = [];
  if (found.commit !== source.commit)
    drift.push({ part, name, message: `it is at ${found.commit.slice(0, 10)}, locked is ${source.commit.slice(0, 10)}` });
  const changed = found.changed.filter((path) => part !== 'core' || !LINKED.some((folder) => path.startsWith(`${folder}/`)));
  return [...drift, ...fileDrift(part, name, changed)];
}

/** Files that differ from what was installed. @param changed null: nobody recorded what was installed */
export function fileDrift(part: 'core' | 'pack', name: string, changed: readonly string[] | null): Drift[] {
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
