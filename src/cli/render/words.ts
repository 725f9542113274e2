import type { HealthStatus } from '../../domain/health/health.ts';
import type { InstanceDocument, InstanceStatus, LayerHealth } from '../../domain/instances/instance.ts';
import type { Style, Symbols, Tone } from '../style.ts';
import { clean } from './text.ts';

/** The same words, symbols and colours for the same things on every screen. */

interface Look {
  readonly symbol: keyof Symbols;
  readonly tone: Tone;
}

const LOOKS: Readonly<Record<InstanceStatus | HealthStatus, Look>> = {
  healthy: { symbol: 'good', tone: 'good' },
  degraded: { symbol: 'partly', tone: 'warn' },
  unhealthy: { symbol: 'bad', tone: 'bad' },
  unknown: { symbol: 'unknown', tone: 'warn' },
  installing: { symbol: 'moving', tone: 'info' },
  starting: { symbol: 'moving', tone: 'info' },
  draining: { symbol: 'moving', tone: 'info' },
  stopped: { symbol: 'off', tone: 'dim' },
  disabled: { symbol: 'off', tone: 'dim' },
  quarantined: { symbol: 'alarm', tone: 'bad' },
};

export const statusCell = (
  status: InstanceStatus | HealthStatus,
  style: Style,
): { readonly text: string; readonly paint: (text: string) => string } => {
  const { symbol, tone } = LOOKS[status] ?? LOOKS.unknown;
  return { text: `${style.symbols[symbol]} ${status}`, paint: (text) => style.paint(tone, text) };
};

export const statusText = (status: InstanceStatus | HealthStatus, style: Style): string => {
  const { text, paint } = statusCell(status, style);
  return paint(text);
};

const LAYER_TONES: Readonly<Record<LayerHealth['status'], Tone>> = { pass: 'good', fail: 'bad', unknown: 'warn' };
export const layerCell = (
  status: LayerHealth['status'],
  style: Style,
): { readonly text: string; readonly paint: (text: string) => string } => ({
  text: status,
  paint: (text) => style.paint(LAYER_TONES[status] ?? 'warn', text),
});

/** The maker's name says nothing in a column where all cards have it. */
export const cardName = (name: string): string =>
  clean(name)
    .replace(/^NVIDIA\s+/i, '')
    .replace(/^GeForce\s+/i, '');

/** `20261121-041500-3fb07a80` -> `3fb07a80`: what tells two releases of one machine apart at a glance. */
export const shortRelease = (id: string | null): string => (id === null ? '-' : (id.split('-').at(-1) ?? id));

/** Why an instance is not as it should be, shown below its row; null when there is nothing to say. */
export function rowReason(
  instance: InstanceDocument,
  layers: readonly ('installation' | 'runtime' | 'functional')[] = ['installation', 'runtime', 'functional'],
): string | null {
  if (instance.hold !== null) return null;
  if (instance.status === 'stopped' || instance.status === 'disabled') return null;
  for (const name of layers) {
    const { status, reason } = instance.layers[name];
    if (status !== 'pass') return clean(reason ?? `${name} is ${status}`);
  }
  return null;
}
