import type { Gpu } from '../../../domain/cards/gpu.ts';
import { isThere } from '../../../plan/cards/missing.ts';
import type { MetricSample } from '../../../ports/metrics.ts';
import type { Knowledge } from '../../knowledge.ts';

const bit = (value: boolean | null): number | null => (value === null ? null : value ? 1 : 0);

/** One gauge for each reading of a card. What it does not tell has no sample: it is not 0. */
const gauges: readonly { readonly name: string; readonly help: string; readonly value: (gpu: Gpu) => number | null }[] = [
  { name: 'memory_used_bytes', help: 'Memory in use on the card.', value: (gpu) => gpu.memoryUsedBytes },
  { name: 'memory_total_bytes', help: 'Memory of the card.', value: (gpu) => gpu.memoryTotalBytes },
  { name: 'utilisation_percent', help: 'Utilisation of the card.', value: (gpu) => gpu.utilisationPercent },
  { name: 'temperature_celsius', help: 'Temperature of the card.', value: (gpu) => gpu.temperatureC },
  { name: 'power_draw_watts', help: 'Power that the card draws.', value: (gpu) => gpu.powerDrawWatts },
  { name: 'power_limit_watts', help: 'Power that the card may draw.', value: (gpu) => gpu.powerLimitWatts },
  {
    name: 'up',
    help: '1 while the card is listed and answers, 0 while it is lost, gone or wants a reset.',
    value: (gpu) => bit(gpu.state === 'ok'),
  },
  {
    name: 'ecc_uncorrected_volatile',
    help: 'Memory errors that could not be corrected since the driver was loaded.',
    value: (gpu) => gpu.ecc.uncorrectedVolatile,
  },
  {
    name: 'ecc_uncorrected_aggregate',
    help: 'Memory errors that could not be corrected in the life of the card.',
    value: (gpu) => gpu.ecc.uncorrectedAggregate,
  },
  {
    name: 'ecc_retirement_pending',
    help: '1 while bad pages wait for the driver to be loaded anew.',
    value: (gpu) => bit(gpu.ecc.retirementPending),
  },
  { name: 'ecc_remap_pending', help: '1 while bad rows wait for a reset.', value: (gpu) => bit(gpu.ecc.remapPending) },
  { name: 'ecc_remap_failed', help: '1 when no spare rows are left.', value: (gpu) => bit(gpu.ecc.remapFailed) },
];

const throttles: readonly { readonly reason: string; readonly value: (gpu: Gpu) => boolean | null }[] = [
  { reason: 'hw_thermal', value: (gpu) => gpu.throttle.hardwareThermal },
  { reason: 'sw_thermal', value: (gpu) => gpu.throttle.softwareThermal },
  { reason: 'hw_power_brake', value: (gpu) => gpu.throttle.powerBrake },
  { reason: 'sw_power_cap', value: (gpu) => gpu.throttle.powerCap },
];

const isSilent = (gpu: Gpu): boolean => gpu.state === 'lost' || !isThere(gpu);

/** What /metrics tells of cards: nothing while the driver does not answer. */
export function cardSamples({ gpus, cards, xidTotals, driverGoneSince, configuration }: Knowledge): readonly MetricSample[] {
  if (configuration.config.gpu.mode !== 'actual') return [];
  const samples: MetricSample[] = [
    {
      name: 'comfylet_gpu_driver_up',
      help: '0 while the driver does not answer, or lists no card although there were some.',
      type: 'gauge',
      labels: {},
      value: gpus.known && driverGoneSince === null ? 1 : 0,
    },
  ];
  const known = gpus.known && driverGoneSince === null && cards.known ? cards.value.gpus : [];
  for (const gpu of known) {
    const labels = { gpu: String(gpu.index), uuid: gpu.uuid };
    // What was read of a card that is gone is of the past.
    const told = isSilent(gpu) ? gauges.filter(({ name }) => name === 'up') : gauges;
    for (const { name, help, value } of told) {
      const number = value(gpu);
      if (number !== null) samples.push({ name: `comfylet_gpu_${name}`, help, type: 'gauge', labels, value: number });
    }
    for (const { reason, value } of isSilent(gpu) ? [] : throttles) {
      const number = bit(value(gpu));
      if (number !== null)
        samples.push({
          name: 'comfylet_gpu_throttled',
          help: '1 while the card is slowed down for this reason.',
          type: 'gauge',
          labels: { ...labels, reason },
          value: number,
        });
    }
  }
  for (const gpu of cards.known ? cards.value.gpus : []) {
    for (const [key, count] of xidTotals) {
      const [pciBusId, code] = key.split(' ');
      if (pciBusId === undefined || code === undefined || pciBusId !== gpu.pciBusId) continue;
      samples.push({
        name: 'comfylet_gpu_xid_total',
        help: 'Faults of the card that the driver told the kernel log since the boot, by Xid.',
        type: 'counter',
        labels: { gpu: String(gpu.index), uuid: gpu.uuid, xid: code },
        value: count,
      });
    }
  }
  return samples;
}
