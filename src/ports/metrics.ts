export interface MetricSample {
  readonly name: string;
  readonly help: string;
  readonly type: 'gauge' | 'counter';
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** Text exposition format of Prometheus. */
export interface Metrics {
  render(samples: readonly MetricSample[]): Promise<string>;
}
