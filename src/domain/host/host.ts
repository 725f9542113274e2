import { z } from 'zod';

/** The operating system around the agent, as far as `agent setup` looks at it and changes it. */

export interface HostUser {
  readonly uid: number;
  readonly gid: number;
  /** The fifth field of passwd. */
  readonly comment: string;
}

export interface HostGroup {
  readonly gid: number;
  /** Those whose primary group it is are not among them. */
  readonly members: readonly string[];
}

/** What is at a path, links not followed. */
export interface HostPath {
  readonly kind: 'file' | 'directory' | 'link' | 'other';
  readonly uid: number;
  readonly gid: number;
  /** Whether a user, a group has this number now. */
  readonly hasOwner: boolean;
  readonly hasGroup: boolean;
  /** Permission bits, with setuid, setgid and sticky. */
  readonly mode: number;
  /** Of a plain file; null for others. */
  readonly sha256: string | null;
  /** The beginning of a plain file, at most 512 bytes. */
  readonly head: string | null;
}

export interface HostUnit {
  /** Started at boot; null: not known without systemd's tools. */
  readonly isEnabled: boolean | null;
  /** Runs now, or is on its way; null while systemd does not run. */
  readonly isActive: boolean | null;
  /** Its file changed since systemd read it. */
  readonly needsReload: boolean;
}

/** The filesystem that holds a path, or would hold it. */
export interface HostPlace {
  /** Type as the kernel names it: ext4, nfs4, overlay. */
  readonly filesystem: string;
  /** Something is mounted just there. */
  readonly isMountPoint: boolean;
  readonly isReadOnly: boolean;
  /** Whether a symbolic link can be made there; null: could not be tried. */
  readonly takesLinks: boolean | null;
}

/** What to look at. */
export interface HostQuestion {
  readonly users: readonly string[];
  readonly groups: readonly string[];
  readonly paths: readonly string[];
  readonly units: readonly string[];
  readonly places: readonly string[];
  /** Programs of the system, by name. */
  readonly tools: readonly string[];
}

/** Asks for what is not about a name: whether this is root, systemd, a container. */
export const NOTHING_NAMED: HostQuestion = { users: [], groups: [], paths: [], units: [], places: [], tools: [] };

/** Answers by the names asked for; null: there is none. */
export interface HostFacts {
  readonly isRoot: boolean;
  /** systemd is PID 1 and takes orders. */
  readonly hasSystemd: boolean;
  /** Kind of container this runs in; null: none that tells. */
  readonly container: string | null;
  readonly users: Readonly<Record<string, HostUser | null>>;
  readonly groups: Readonly<Record<string, HostGroup | null>>;
  readonly paths: Readonly<Record<string, HostPath | null>>;
  readonly units: Readonly<Record<string, HostUnit>>;
  readonly places: Readonly<Record<string, HostPlace>>;
  /** Absolute paths, looked for in the directories of the system alone, whatever PATH says. */
  readonly tools: Readonly<Record<string, string | null>>;
}

/** Owner and mode; names, because the users may be made just before. */
export interface HostRights {
  readonly owner: string;
  readonly group: string;
  readonly mode: number;
}

/** One change of the host. Each can be cut anywhere and repeated. */
export type HostAction =
  /** A number that was in use here before; null: the system's choice. */
  | { readonly do: 'add-group'; readonly name: string; readonly gid: number | null }
  | {
      readonly do: 'add-user';
      readonly name: string;
      readonly uid: number | null;
      readonly group: string;
      readonly groups: readonly string[];
      readonly home: string;
      readonly comment: string;
    }
  | { readonly do: 'add-member'; readonly user: string; readonly group: string }
  | { readonly do: 'make-directory'; readonly path: string; readonly rights: HostRights }
  | { readonly do: 'set-rights'; readonly path: string; readonly rights: HostRights }
  /** What has these numbers below a path goes to another owner; whatever belongs to others stays. */
  | {
      readonly do: 'give-tree';
      readonly path: string;
      readonly from: { readonly uid: number; readonly gid: number };
      readonly user: string;
      readonly group: string;
    }
  /** `content` may be secret: it is never shown. */
  | { readonly do: 'write-file'; readonly path: string; readonly content: string; readonly rights: HostRights }
  | { readonly do: 'copy-file'; readonly from: string; readonly path: string; readonly rights: HostRights }
  | { readonly do: 'reload-units' }
  | { readonly do: 'enable' | 'disable' | 'start' | 'stop' | 'restart'; readonly units: readonly string[] }
  | { readonly do: 'remove-file'; readonly path: string }
  /** With everything below it, on its own filesystem only, links not followed. */
  | { readonly do: 'remove-tree'; readonly path: string }
  /** Only when nothing is in it and nothing is mounted on it. */
  | { readonly do: 'remove-empty'; readonly path: string }
  /** With the group of its name, unless others are in it. */
  | { readonly do: 'remove-user'; readonly name: string };

export interface HostStep {
  readonly action: HostAction;
  /** In the words of the user's world: "user comfyui". */
  readonly what: string;
  readonly why: string;
  /** The command that does the same, for people. */
  readonly how: string;
}

/** `agent setup --json`. */
export const SetupDocument = z.object({
  root: z.string(),
  /** False with --dry-run. */
  done: z.boolean(),
  steps: z.array(z.object({ what: z.string(), why: z.string(), how: z.string() })),
  /** What a person must know, and is no step. */
  notes: z.array(z.string()),
});
export type SetupDocument = z.infer<typeof SetupDocument>;
