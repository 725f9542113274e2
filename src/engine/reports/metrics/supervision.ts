import type { Documents } from '../../../domain/health/documents.ts';
import type { MetricSample } from '../../../ports/metrics.ts';
import type { Knowledge } from '../../knowledge.ts';

/** Why instances were ended, what probes say and how long they take, what is wrong now. */
export function supervisionSamples(knowledge: Knowledge, documents: Documents): readonly MetricSample[] {
  return documents.instances.instances.flatMap((instance): MetricSample[] => {
    const gpu = String(instance.gpu);
    const gauge = (name: string, help: string, labels: Readonly<Record<string, string>>, value: number): MetricSample => ({
      name,
      help,
      type: 'gauge',
      labels: { gpu, ...labels },
      value,
    });
    const record = knowledge.instances.of(instance.gpu);
    const ends = record.exits.filter((exit) => !exit.wanted);
    const byCause = Map.groupBy(ends, (exit) => exit.fault ?? 'process-exit');
    const probes = [...record.probes].map(([name, record]) => ({ name, ...record }));
    const canaryMs = probes.find(({ name }) => name === 'canary')?.latest.facts?.['canaryMs'];
    return [
      gauge('comfylet_instance_quarantined', '1 while the instance is quarantined.', {}, instance.status === 'quarantined' ? 1 : 0),
      ...[...byCause].map(
        ([cause, exits]): MetricSample => ({
          name: 'comfylet_instance_ends_total',
          help: 'Ends of the instance that nobody asked for, by the fault that caused them.',
          type: 'counter',
          labels: { gpu, cause },
          value: exits.length,
        }),
      ),
      ...[...new Set(instance.verdicts.map(({ fault }) => fault))].map((fault) =>
        gauge('comfylet_instance_fault', '1 while the instance has this fault.', { fault }, 1),
      ),
      ...probes.flatMap(({ name: probe, latest, consecutiveFailures }) => [
        gauge('comfylet_probe_seconds', 'How long the last answer of a probe took.', { probe }, latest.durationMs / 1_000),
        gauge('comfylet_probe_failures', 'Failures of a probe in a row.', { probe }, consecutiveFailures),
      ]),
      ...(typeof canaryMs === 'number'
        ? [gauge('comfylet_canary_seconds', 'How long the last canary that passed took.', {}, canaryMs / 1_000)]
        : []),
    ];
  });
}
