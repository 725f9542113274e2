import type { InstanceLaunch } from '../domain/instance.ts';
import { instanceLaunch } from '../plan/launch.ts';
import type { Knowledge } from './knowledge.ts';

/** What every instance should run just now; none for an instance without a whole release or without a port. */
export function launchesOf(knowledge: Knowledge, inherited: Readonly<Record<string, string>>): ReadonlyMap<number, InstanceLaunch> {
  const { desired, observed, leases, configuration, modelPathsFile, modelPathsDigest } = knowledge;
  const release = observed?.release.known ? observed.release.value : null;
  if (desired === null || release === null || observed === null || observed.releaseProblem !== null) return new Map();
  return new Map(
    desired.instances.flatMap((instance): [number, InstanceLaunch][] => {
      const lease = leases.find((candidate) => candidate.gpu === instance.gpu);
      if (lease === undefined) return [];
      const { config, layout } = configuration;
      const localCpus = (instance.uuid === null ? undefined : knowledge.cpuLists.get(instance.uuid)) ?? null;
      return [
        [
          instance.gpu,
          instanceLaunch({
            config,
            layout,
            instance,
            release,
            tcpPort: lease.tcpPort,
            modelPathsFile,
            modelPathsDigest,
            inherited,
            localCpus,
          }),
        ],
      ];
    }),
  );
}
