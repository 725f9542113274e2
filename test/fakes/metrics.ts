import type { Metrics } from '../../src/ports/metrics.ts';

/** One line for each sample: `name{label="value"} 1`. */
export const fakeMetrics: Metrics = {
  render: async (samples) =>
    samples
      .map(({ name, labels, value }) => {
        const inner = Object.entries(labels).map(([label, text]) => `${label}="${text}"`);
        return `${name}${inner.length === 0 ? '' : `{${inner.join(',')}}`} ${value}`;
      })
      .join('\n'),
};
