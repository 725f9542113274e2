import { redactUrl } from '../../domain/installation/git-url.ts';
import type { LockedSource } from '../../domain/installation/lock.ts';
import { toTime } from '../../domain/observed.ts';
import type { GitCheckout } from '../../ports/git.ts';

/** A ref that is itself a commit, whole or shortened. */
export const isCommit = (ref: string): boolean => /^[0-9a-f]{7,40}$/i.test(ref);

export type Locked<Kind extends LockedSource['kind']> = Extract<LockedSource, { kind: Kind }>;

/** A checkout as the lock writes it. @param pin what it was checked out by: how that commit was found stays on record */
export const lockedGit = (url: string, checkout: GitCheckout, pin?: LockedSource | null): Locked<'git'> => ({
  kind: 'git',
  url: redactUrl(url),
  branch: pin?.kind === 'git' && pin.commit === checkout.commit ? pin.branch : checkout.branch,
  commit: checkout.commit,
  commitDate:
    checkout.commitDate === null || Number.isNaN(Date.parse(checkout.commitDate)) ? null : toTime(Date.parse(checkout.commitDate)),
  submodules: [...checkout.submodules],
});
