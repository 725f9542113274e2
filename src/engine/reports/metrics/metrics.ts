import type { Documents } from '../../../domain/health/documents.ts';
import type { MetricSample } from '../../../ports/metrics.ts';
import type { Knowledge } from '../../knowledge.ts';
import { cardSamples } from './cards.ts';
import { resourceSamples } from './resources.ts';
import { supervisionSamples } from './supervision.ts';

/** What /metrics tells, from the same documents as health. */
export function metricSamples(knowledge: Knowledge, documents: Documents): readonly MetricSample[] {
  const samples: MetricSample[] = [
    {
      name: 'comfylet_instances_wanted',
      help: 'Instances that should be ready.',
      type: 'gauge',
      labels: {},
      value: documents.instances.capacity.wanted,
    },
    {
      name: 'comfylet_instances_ready',
      help: 'Instances that are ready.',
      type: 'gauge',
      labels: {},
      value: documents.instances.capacity.ready,
    },
    {
      name: 'comfylet_installation_ok',
      help: '1 while a whole release is in place.',
      type: 'gauge',
      labels: {},
      value: documents.installation.ok ? 1 : 0,
    },
    {
      name: 'comfylet_configuration_ok',
      help: '0 while an edit is refused and the last good configuration is in force.',
      type: 'gauge',
      labels: {},
      value: documents.configuration.ok ? 1 : 0,
    },
    {
      name: 'comfylet_holds',
      help: 'Things that are not done, with a reason.',
      type: 'gauge',
      labels: {},
      value: documents.health.holds.length,
    },
  ];
  for (const instance of documents.instances.instances) {
    const labels = { gpu: String(instance.gpu), uuid: instance.uuid ?? '' };
    samples.push(
      {
        name: 'comfylet_instance_ready',
        help: '1 while the instance takes jobs.',
        type: 'gauge',
        labels,
        value: instance.ready ? 1 : 0,
      },
      {
        name: 'comfylet_instance_restarts_total',
        help: 'Ends of the instance that nobody asked for.',
        type: 'counter',
        labels,
        value: instance.restarts.total,
      },
    );
    if (instance.queue !== null) {
      samples.push(
        {
          name: 'comfylet_instance_jobs_running',
          help: 'Jobs that run in the instance.',
          type: 'gauge',
          labels,
          value: instance.queue.running,
        },
        {
          name: 'comfylet_instance_jobs_pending',
          help: 'Jobs that wait in the instance.',
          type: 'gauge',
          labels,
          value: instance.queue.pending,
        },
      );
    }
  }
  return [...samples, ...cardSamples(knowledge), ...resourceSamples(knowledge), ...supervisionSamples(knowledge, documents)];
}
