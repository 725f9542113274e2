/** Files that somebody else may have put there: ComfyUI, a node pack, an archive. */

/** What stands at one place on the way to a file, and last the file itself. */
export interface PathFacts {
  /** Absolute. */
  readonly path: string;
  readonly kind: 'directory' | 'link' | 'file' | 'other';
  readonly uid: number;
  readonly gid: number;
  /** Permission bits with setuid, setgid and sticky. */
  readonly mode: number;
}

/** The user who runs ComfyUI and node packs, where it is not the agent's own. */
export interface ForeignUser {
  readonly name: string;
  readonly uid: number;
  readonly gids: readonly number[];
}

/** Where ComfyUI has a user of its own: who that is, and whose word counts. */
export interface Border {
  readonly comfyui: ForeignUser;
  /** uids of root, the agent and the accounts that may use it. */
  readonly trusted: readonly number[];
  /** By uid, as far as they are known. */
  readonly names: ReadonlyMap<number, string>;
}

/** A file whose word is obeyed. */
export interface Instruction {
  readonly text: string;
  /** Name of its owner, or his number. */
  readonly owner: string;
  /** Why somebody may have written it who gives no orders here, and what to type if it is right; null: nobody but those who may. */
  readonly distrust: { readonly why: string; readonly remedy: string } | null;
}

/** Bytes. Each is far beyond what any real file of its kind has, and small enough to be held in memory. */
export const INPUT_LIMITS = {
  /** requirements.txt, pyproject.toml, Python source that is looked into, direct_url.json. */
  source: 1024 ** 2,
  /** config_nodes.json, comfy_dir_config.yaml, static-models.json. */
  instructions: 4 * 1024 ** 2,
  workflow: 16 * 1024 ** 2,
  /** What the agent wrote where packs can write: release.json, the lock of a release, records of files. */
  record: 64 * 1024 ** 2,
} as const;

const bytes = (limit: number): string => (limit >= 1024 ** 2 ? `${limit / 1024 ** 2} MiB` : `${limit} bytes`);
export const tooLarge = (limit: number): string => `it is larger than ${bytes(limit)}`;

/** Whether the bits of an entry let somebody do that: 4 reads, 2 writes, 1 goes through. As the kernel reads them; rights of root and lists (ACL) aside. */
export function allows(entry: Pick<PathFacts, 'uid' | 'gid' | 'mode'>, user: Pick<ForeignUser, 'uid' | 'gids'>, bit: 4 | 2 | 1): boolean {
  if (entry.uid === user.uid) return ((entry.mode >> 6) & bit) !== 0;
  return ((user.gids.includes(entry.gid) ? entry.mode >> 3 : entry.mode) & bit) !== 0;
}

const STICKY = 0o1000;

/**
 * Whether the user of ComfyUI could have written what stands at the end of a way, or have put it there: by the file, by
 * each link, and by each directory in which one of them could be replaced.
 */
export function distrustOf(way: readonly PathFacts[], { comfyui, trusted, names }: Border): Instruction['distrust'] {
  const nameOf = (uid: number): string => names.get(uid) ?? `uid ${uid}`;
  const quoted = (path: string): string => `'${path.replaceAll("'", "'\\''")}'`;
  for (const [index, entry] of way.entries()) {
    const { path, kind, uid, mode } = entry;
    // Who owns it can give himself the right.
    const isWritable = uid === comfyui.uid || (kind !== 'link' && allows(entry, comfyui, 2));
    const take = `chown root ${quoted(path)} && chmod g-w,o-w ${quoted(path)}`;
    if (kind === 'directory') {
      // In a sticky directory an entry can be replaced by its owner only.
      const next = way[index + 1];
      const isKept = uid !== comfyui.uid && (mode & STICKY) !== 0 && next?.uid !== comfyui.uid;
      if (isWritable && !isKept) return { why: `it lies in ${path}, in which ${comfyui.name} can put another in its place`, remedy: take };
      continue;
    }
    if (uid === comfyui.uid)
      return { why: `${path} belongs to ${comfyui.name}`, remedy: kind === 'link' ? `chown -h root ${quoted(path)}` : take };
    if (isWritable) return { why: `${path} can be written by ${comfyui.name} (mode ${(mode & 0o777).toString(8)})`, remedy: take };
    if (!trusted.includes(uid))
      return {
        why: `${path} belongs to ${nameOf(uid)}, who may not use this agent`,
        remedy: `chown ${kind === 'link' ? '-h ' : ''}root ${quoted(path)}`,
      };
  }
  return null;
}
