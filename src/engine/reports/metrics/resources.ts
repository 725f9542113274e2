import type { MetricSample } from '../../../ports/metrics.ts';
import type { Knowledge } from '../../knowledge.ts';

/** Memory and log of each instance, disks, memory of the machine, and what was cleaned. */
export function resourceSamples(knowledge: Knowledge): readonly MetricSample[] {
  const samples: MetricSample[] = [];
  const add = (type: MetricSample['type'], name: string, help: string, labels: MetricSample['labels'], value: number | null): void => {
    if (value !== null) samples.push({ name: `comfylet_${name}`, help, type, labels, value });
  };
  for (const [gpu, { memory, log }] of knowledge.instances.known('resources')) {
    const uuid = knowledge.desired?.instances.find((instance) => instance.gpu === gpu)?.uuid ?? '';
    const labels = { gpu: String(gpu), uuid };
    if (memory !== null) {
      add('gauge', 'instance_resident_bytes', 'Resident memory of the instance and its children.', labels, memory.residentBytes);
      add('gauge', 'instance_processes', 'Processes of the instance.', labels, memory.processes);
    }
    if (log !== null) {
      add('gauge', 'instance_log_bytes_per_second', 'What the instance writes into its log.', labels, Math.round(log.bytesPerSecond));
      add('counter', 'instance_log_cut_bytes_total', 'What a flood wrote beyond the budget of the log.', labels, log.cutBytes);
    }
  }
  const { disks, memory } = knowledge.machineResources;
  for (const { holds, space } of disks) {
    const labels = { holds: holds.join(',') };
    add('gauge', 'disk_free_bytes', 'Free space of a filesystem.', labels, space.freeBytes);
    add('gauge', 'disk_total_bytes', 'Size of a filesystem.', labels, space.totalBytes);
    add('gauge', 'disk_free_inodes', 'Free inodes of a filesystem.', labels, space.freeInodes);
  }
  if (memory !== null)
    add('gauge', 'memory_available_bytes', 'Memory that processes can still get.', { limited_by: memory.limitedBy }, memory.availableBytes);
  for (const [area, { files, bytes }] of knowledge.cleaned) {
    add('counter', 'cleanup_freed_bytes_total', 'What cleanings freed.', { area }, bytes);
    add('counter', 'cleanup_removed_files_total', 'What cleanings removed.', { area }, files);
  }
  return samples;
}
