import type { HostFacts } from '../../domain/host/host.ts';
import { ancestorsOf, placed } from './layout.ts';

/** The units for one machine: which of its directories their processes see, and may write to. */

/** What `ProtectHome=` is about. */
const HOMES = ['/home', '/root', '/run/user'];

export interface UnitPlace {
  readonly prefix: string;
  readonly root: string;
  /** Paths outside of the root that the configuration names. */
  readonly readable: readonly string[];
  /** Of these, those that ComfyUI and packs write to. */
  readonly writable: readonly string[];
}

const isIn = (path: string, directory: string): boolean => path === directory || path.startsWith(`${directory}/`);
const inHomes = (path: string): boolean => HOMES.some((home) => isIn(path, home));

/** The first directory on the way to the root that lets nobody else in; null: there is none but homes, which are closed by rule. */
export const closedAbove = (root: string, { paths }: Pick<HostFacts, 'paths'>): string | null =>
  (inHomes(root) ? [] : ancestorsOf(root)).find((path) => paths[path]?.kind === 'directory' && ((paths[path]?.mode ?? 0) & 0o001) === 0) ??
  null;

/**
 * A shipped unit for this machine. A root below a home, or below a directory that is closed, is shown to the unit alone: there an
 * empty directory stands in place of the closed one, with the root in it. On the machine itself nothing is opened for anybody.
 */
export function placedUnit(text: string, { prefix, root, readable, writable }: UnitPlace, facts: Pick<HostFacts, 'paths'>): string {
  const unit = placed(text, { prefix, root });
  const closed = closedAbove(root, facts);
  const isHidden = (path: string): boolean => (inHomes(root) && inHomes(path)) || (closed !== null && isIn(path, closed));
  const lines = [
    ...(inHomes(root) ? ['ProtectHome=tmpfs'] : ['ProtectHome=read-only']),
    ...(closed === null ? [] : [`TemporaryFileSystem=${closed}:ro`]),
    ...(isHidden(root) ? [`BindPaths=${root}`] : []),
    ...writable.filter(isHidden).map((path) => `BindPaths=-${path}`),
    ...readable.filter((path) => isHidden(path) && !writable.includes(path)).map((path) => `BindReadOnlyPaths=-${path}`),
  ];
  return unit
    .replace(/^ReadWritePaths=.*$/m, (line) => [line, ...writable.map((path) => `-${path}`)].join(' '))
    .replace(/^ProtectHome=read-only$/m, lines.join('\n'));
}

/** Absolute paths among values, whatever key they are of, that lie outside of the root and that a unit can name. */
export function pathsOutside(root: string, value: unknown): string[] {
  if (typeof value === 'string') return /^\/[\w./@+-]+$/.test(value) && !isIn(value, root) ? [value] : [];
  return value !== null && typeof value === 'object' ? Object.values(value).flatMap((each) => pathsOutside(root, each)) : [];
}
