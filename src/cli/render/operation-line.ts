import type { InstallProgress } from '../../domain/installation/release.ts';
import type { OperationDocument } from '../../domain/operation.ts';
import type { Style } from '../style.ts';
import { describeDuration } from './duration.ts';
import { clean } from './text.ts';

/** `████████░░░░░░░░`: `width` columns. */
export function bar(progress: number, width: number, { symbols }: Style): string {
  const full = Math.round(Math.min(1, Math.max(0, progress)) * width);
  return symbols.barFull.repeat(full) + symbols.barEmpty.repeat(width - full);
}

export const percent = (progress: number): string => `${Math.floor(Math.min(1, Math.max(0, progress)) * 100)} %`;

/** `step 3 of 8, packs`. */
export function stepText({ step, steps }: InstallProgress): string {
  const index = steps.findIndex((each) => each.name === step);
  return index === -1 ? `step ${step}` : `step ${index + 1} of ${steps.length}, ${step}`;
}

/** `about 1m 35s left`, while it is more than a moment. */
export const etaText = (install: InstallProgress | null): string[] =>
  install === null || install.etaMs === null || install.etaMs < 1_000 ? [] : [`about ${describeDuration(install.etaMs)} left`];

/** One operation on one line: what, how far, how long still. */
export function operationLine(operation: OperationDocument, style: Style, now: number): string {
  const { kind, target, progress, install, startedAt } = operation;
  const so = `for ${describeDuration(now - Date.parse(startedAt))}`;
  const parts = [
    target === 'installation' ? kind : `${kind} ${target.replace(`${kind} `, '')}`,
    ...(progress === null ? [] : [`${bar(progress, 12, style)} ${percent(progress)}`]),
    ...(install !== null
      ? [stepText(install)]
      : [`${kind} ${target}`, `${kind} was asked for`].includes(operation.message)
        ? []
        : [clean(operation.message)]),
    `(${[so, ...etaText(install)].join(', ')})`,
  ];
  return parts.filter((part) => part !== '').join('  ');
}
