export interface Sample {
  /** Milliseconds of a clock that does not jump. */
  readonly at: number;
  readonly value: number;
}

/** Change for each millisecond, by least squares; null while the samples span less than that. */
export function slope(samples: readonly Sample[], leastSpanMs: number): number | null {
  const first = samples[0];
  const last = samples.at(-1);
  if (first === undefined || last === undefined || samples.length < 3 || last.at - first.at < leastSpanMs) return null;
  const meanAt = samples.reduce((sum, { at }) => sum + at, 0) / samples.length;
  const meanValue = samples.reduce((sum, { value }) => sum + value, 0) / samples.length;
  const covariance = samples.reduce((sum, { at, value }) => sum + (at - meanAt) * (value - meanValue), 0);
  const variance = samples.reduce((sum, { at }) => sum + (at - meanAt) ** 2, 0);
  return variance === 0 ? null : covariance / variance;
}

/** The samples with one more, without those that are older than the span. */
export const withSample = (samples: readonly Sample[], sample: Sample, spanMs: number): readonly Sample[] =>
  [...samples, sample].filter(({ at }) => sample.at - at <= spanMs);
