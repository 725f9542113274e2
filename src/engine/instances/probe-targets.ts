import type { ProbeResult } from '../../domain/health/health.ts';
import { incarnationKey, probeHost } from '../../domain/instances/instance.ts';
import { instanceLogFile } from '../../plan/instances/launch.ts';
import { portInUse } from '../../plan/instances/leases.ts';
import type { ProbeTarget } from '../../probes/probe.ts';
import type { Knowledge } from '../knowledge.ts';

/** Every instance that has a process, as the probes see it. Probing goes to the address it listens on, not the advertised one. */
export function probeTargets(knowledge: Knowledge, canary: object): readonly ProbeTarget[] {
  const { desired, observed, leases, configuration } = knowledge;
  if (desired === null || observed === null) return [];
  const { config, layout } = configuration;
  const release = observed.release.known ? observed.release.value : null;
  const expectedPacks = (release?.packs ?? []).filter((pack) => pack.state === 'loaded').map((pack) => pack.name);
  return desired.instances.flatMap((instance): ProbeTarget[] => {
    const seen = observed.incarnations.get(instance.name);
    const incarnation = seen?.known === true ? seen.value : null;
    const process = observed.processes.known ? observed.processes.value.find((candidate) => candidate.name === instance.name) : null;
    const tcpPort = portInUse(process ?? null, instance.gpu, leases);
    if (incarnation === null || tcpPort === null) return [];
    return [
      {
        gpu: instance.gpu,
        name: instance.name,
        baseUrl: `http://${probeHost(config.comfyui.listen)}:${tcpPort}`,
        tcpPort,
        pid: incarnation.pid,
        incarnation: incarnationKey(incarnation),
        logFile: instanceLogFile(layout, instance.gpu),
        config,
        expectedPacks,
        canary,
        proof: proofOf(knowledge, instance.gpu, incarnationKey(incarnation)),
      },
    ];
  });
}

/** A canary that passed: what was once proved of a process needs no proof again, which would cost users their cached models. */
function proofOf(knowledge: Knowledge, gpu: number, incarnation: string): ProbeResult | null {
  const latest = knowledge.instances.of(gpu).probes.get('canary')?.latest;
  return latest?.incarnation === incarnation && latest.outcome === 'pass' ? latest : null;
}
