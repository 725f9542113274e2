import type { ConfigurationHealth, InstallationDocument, InstancesDocument } from '../../domain/health/health.ts';

/**
 * What `systemctl status` shows of the agent: one line without anything that ticks by itself, since each change is told.
 */
export function serviceStatus(
  installation: Pick<InstallationDocument, 'status' | 'progress' | 'step' | 'reason'>,
  {
    capacity,
    instances,
  }: {
    readonly capacity: InstancesDocument['capacity'];
    readonly instances: readonly { readonly status: string; readonly ready: boolean }[];
  },
  configuration: Pick<ConfigurationHealth, 'problem'>,
): string {
  if (installation.status === 'disabled') return 'ComfyUI is disabled';
  if (capacity.wanted === 0 && instances.length === 0) return 'looking at the machine';
  // An installation beside instances that serve is told too.
  const work =
    installation.step !== null
      ? [`installing ${Math.floor(installation.progress * 100)} % (${installation.step})`]
      : installation.status === 'broken'
        ? [`the installation is broken: ${installation.reason ?? 'no reason is known'}`]
        : installation.status === 'degraded' && installation.reason !== null
          ? [installation.reason]
          : [];
  const others = Map.groupBy(
    instances.filter(({ ready }) => !ready),
    ({ status }) => status,
  );
  return [
    ...work,
    [
      `${capacity.ready} of ${capacity.wanted} instance${capacity.wanted === 1 ? '' : 's'} ready`,
      ...[...others].map(([status, which]) => `${which.length} ${status}`),
    ].join(', '),
    ...(configuration.problem === null ? [] : [`configuration refused: ${configuration.problem}`]),
  ].join('; ');
}
