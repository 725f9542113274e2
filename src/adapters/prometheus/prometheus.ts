import type { MetricSample, Metrics } from '../../ports/metrics.ts';

/** Prometheus text format through prom-client; a registry of its own for each scrape, because all values are snapshots. */
export function createMetrics(): Metrics {
  return {
    render: async (samples) => {
      const { Counter, Gauge, Registry } = await import('prom-client');
      const registry = new Registry();
      const families = Map.groupBy(samples, (sample: MetricSample) => sample.name);
      for (const [name, family] of families) {
        const [first] = family;
        if (first === undefined) continue;
        const options = { name, help: first.help, labelNames: Object.keys(first.labels), registers: [registry] };
        if (first.type === 'counter') {
          const counter = new Counter(options);
          for (const { labels, value } of family) counter.inc(labels, value);
        } else {
          const gauge = new Gauge(options);
          for (const { labels, value } of family) gauge.set(labels, value);
        }
      }
      return registry.metrics();
    },
  };
}
