import type { InstanceLaunch } from '../../domain/instances/instance.ts';
import { instanceLaunch } from '../../plan/instances/launch.ts';
import type { Knowledge } from '../knowledge.ts';

/**
 * What every instance should run just now; none for one without a whole release or without a port, and none while something that
 * belongs to it was not looked at yet: an instance must not seem to run with other settings for that.
 */
export function launchesOf(knowledge: Knowledge, inherited: Readonly<Record<string, string>>): ReadonlyMap<number, InstanceLaunch> {
  const { desired, observed, leases, configuration, modelPathsFile, modelPathsDigest } = knowledge;
  const release = observed?.release.known ? observed.release.value : null;
  if (desired === null || release === null || observed === null || observed.releaseProblem !== null || modelPathsDigest === null)
    return new Map();
  return new Map(
    desired.instances.flatMap((instance): [number, InstanceLaunch][] => {
      const lease = leases.find((candidate) => candidate.gpu === instance.gpu);
      if (lease === undefined) return [];
      const { config, layout } = configuration;
      const localCpus = instance.uuid === null || config.instances.cpuAffinity !== 'auto' ? null : knowledge.cpuLists.get(instance.uuid);
      if (localCpus === undefined) return [];
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
