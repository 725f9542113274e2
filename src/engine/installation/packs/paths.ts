import type { LockedPackage } from '../../../domain/installation/lock.ts';
import type { InstallContext } from '../context.ts';

/** Stands for the release in a lock: a package that lies in a pack's own folder is at another place in every release. */
export const RELEASE = 'file:///RELEASE/';

const fileUrl = (directory: string): string => `file://${encodeURI(directory)}/`;

const replaced = (locked: LockedPackage, from: string, to: string): LockedPackage =>
  locked.url?.startsWith(from) ? { ...locked, url: to + locked.url.slice(from.length) } : locked;

/** As it goes into a lock. */
export const movable = ({ directory }: InstallContext, locked: LockedPackage): LockedPackage =>
  replaced(locked, fileUrl(directory), RELEASE);

/** As uv finds it in this release. */
export const placed = ({ directory }: InstallContext, locked: LockedPackage): LockedPackage => atPlace(directory, locked);

/** As uv finds it in the release of that directory. */
export const atPlace = (directory: string, locked: LockedPackage): LockedPackage => replaced(locked, RELEASE, fileUrl(directory));
