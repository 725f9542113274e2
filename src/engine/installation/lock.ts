import type { Lock, LockedPackage } from '../../domain/installation/lock.ts';
import { coreRequestDigest, packRequestDigest, pythonRequestDigest } from '../../plan/installation/lock.ts';
import type { InstallContext } from './context.ts';
import { withPackages } from './environment/containment.ts';
import type { PlannedEnvironment } from './environment/environment.ts';
import type { FetchedSource } from './source.ts';

/**
 * The lock of a release whose parts are known. A pack that could not be fetched stays where it was locked; one that never
 * was is not in it, and is tried again.
 * @param added packages that scripts of packs brought in
 */
export function lockOf(
  context: InstallContext,
  source: FetchedSource,
  { pythonVersion, resolution }: PlannedEnvironment,
  added: readonly LockedPackage[],
): Lock {
  const { spec, specDigest, tracker, requiredModels, pins, ports } = context;
  const quarantined = new Map(resolution.quarantined.map(({ name, reason }) => [name, reason]));
  const status = new Map(tracker.progress.packs.map((pack) => [pack.name, pack]));
  return {
    schema: 1,
    specDigest,
    core: { requestDigest: coreRequestDigest(spec), source: source.locked, comfyuiVersion: source.comfyuiVersion },
    packs: spec.packs.flatMap((pack) => {
      const found = status.get(pack.name)?.source ?? pins.packs.get(pack.name);
      if (found === undefined) return [];
      const reason = quarantined.get(pack.name) ?? null;
      return [{ name: pack.name, requestDigest: packRequestDigest(pack), source: found, quarantined: reason }];
    }),
    python: {
      version: pythonVersion,
      platform: ports.python.platform(),
      requestDigest: pythonRequestDigest(spec),
      ...(resolution.questionDigest === null ? {} : { questionDigest: resolution.questionDigest }),
      torchBackend: resolution.torchBackend,
      packages: [...withPackages(resolution, added).packages].sort((a, b) => (a.name < b.name ? -1 : 1)),
      constraints: [...resolution.constraints],
    },
    models: requiredModels
      .filter((model) => !model.path.startsWith('/'))
      .map(({ path, sha256, sizeBytes }) => ({ path, sha256: sha256?.toLowerCase() ?? null, sizeBytes }))
      .sort((a, b) => (a.path < b.path ? -1 : 1)),
  };
}
