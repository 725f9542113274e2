import { z } from 'zod';
import { Time } from '../observed.ts';
import { normaliseName, parseRequirement } from './requirements.ts';

/**
 * agent.lock.json: everything an installation is, so that the same lock gives the same tree and the same packages on any
 * machine. Git sources are pinned by commit, everything else by sha256.
 */

/** Name of the copy in each release. */
export const LOCK_NAME = 'agent.lock.json';

const Commit = z.string().regex(/^[0-9a-f]{40}$/, 'a locked commit has 40 hexadecimal digits');
export const Sha256 = z.string().regex(/^[0-9a-f]{64}$/);

export const LockedSubmodule = z.strictObject({ path: z.string(), url: z.string(), commit: Commit });
export type LockedSubmodule = z.infer<typeof LockedSubmodule>;

/** Where a tree comes from, exactly. URLs have no credentials. */
export const LockedSource = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('git'),
    url: z.string(),
    /** What the commit was found by; null: it was named itself. */
    branch: z.string().nullable(),
    commit: Commit,
    commitDate: Time.nullable(),
    submodules: z.array(LockedSubmodule),
  }),
  /** A zip of a registry. */
  z.strictObject({ kind: z.literal('archive'), url: z.string(), version: z.string().nullable(), sha256: Sha256 }),
  /** A directory of this machine, by the digest of its files. */
  z.strictObject({ kind: z.literal('directory'), path: z.string(), sha256: Sha256 }),
  /** The simulator inside the agent. */
  z.strictObject({ kind: z.literal('embedded') }),
]);
export type LockedSource = z.infer<typeof LockedSource>;

export const LockedPack = z.strictObject({
  name: z.string(),
  /** Digest of its entry in config_nodes.json: while it is the same, the source below holds. */
  requestDigest: z.string(),
  source: LockedSource,
  /** Why it is left out although it is asked for; null: it is installed. */
  quarantined: z.string().nullable(),
});
export type LockedPack = z.infer<typeof LockedPack>;

/** One Python package of the resolution: by version and hashes, or by URL (VCS lines with their commit). */
export const LockedPackage = z.strictObject({
  name: z.string(),
  version: z.string().nullable(),
  url: z.string().nullable(),
  /** The URL that was asked for, where it names no commit: while it is asked for, the commit in `url` holds. */
  requestedUrl: z.string().optional(),
  /** `sha256:…` of every file that may be installed; empty for VCS lines. */
  hashes: z.array(z.string()),
  /** The pack whose install.py brought it in; null: the resolution did. */
  addedBy: z.string().nullable(),
});
export type LockedPackage = z.infer<typeof LockedPackage>;

export const LockedModel = z.strictObject({ path: z.string(), sha256: Sha256.nullable(), sizeBytes: z.int().nullable() });
export type LockedModel = z.infer<typeof LockedModel>;

export const Lock = z.strictObject({
  schema: z.literal(1),
  /** Digest of the InstallationSpec it was made for. */
  specDigest: z.string(),
  core: z.strictObject({ requestDigest: z.string(), source: LockedSource, comfyuiVersion: z.string().nullable() }),
  packs: z.array(LockedPack),
  python: z.strictObject({
    /** Whole version of the interpreter it was resolved for, "3.11.7"; another patch release may install it. */
    version: z.string(),
    /** As the resolution is only good there: "linux-x86_64". */
    platform: z.string(),
    /** Digest of the python settings: while they are the same, the packages below are preferred. */
    requestDigest: z.string(),
    /** Digest of all that was asked of the resolver: while it is the same, the packages below are the answer. */
    questionDigest: z.string().optional(),
    torchBackend: z.string().nullable(),
    packages: z.array(LockedPackage),
    /** Lines that packs may not move, as given to pip and uv. */
    constraints: z.array(z.string()),
  }),
  models: z.array(LockedModel),
});
export type Lock = z.infer<typeof Lock>;

/** Which pins an `agent update` lets go; everything else stays where the lock has it. */
export const Moves = z.strictObject({
  /** Every pin, Python packages included. */
  all: z.boolean().default(false),
  /** ComfyUI: to this branch, tag or commit, or (null) to the newest of what the configuration asks for. */
  core: z.strictObject({ ref: z.string().nullable() }).nullable().default(null),
  /** Packs by name, in the same way. */
  packs: z.record(z.string(), z.string().nullable()).default({}),
});
export type Moves = z.infer<typeof Moves>;

/** One line of what separates two locks, or a lock from what is asked for. */
export const LockChange = z.object({
  part: z.enum(['core', 'pack', 'package', 'python', 'model', 'request']),
  name: z.string(),
  change: z.enum(['added', 'removed', 'changed']),
  /** For people: version, or short commit with its date. */
  before: z.string().nullable(),
  after: z.string().nullable(),
});
export type LockChange = z.infer<typeof LockChange>;

/** A pinned line of a resolution, `name==version --hash=…` or `name @ url`; null when it pins nothing. */
export function toLockedPackage(line: string): LockedPackage | null {
  const hashes = [...line.matchAll(/--hash[= ](\S+)/g)].map((match) => match[1] ?? '');
  const requirement = parseRequirement(line);
  if (requirement.kind !== 'package') return null;
  const base = { name: normaliseName(requirement.name), hashes, addedBy: null };
  if (requirement.url !== null) return { ...base, version: null, url: requirement.url };
  const version = /^={2,3}([^,*]+)$/.exec(requirement.specifier)?.[1];
  return version === undefined ? null : { ...base, version, url: null };
}

/** The line that pip and uv read, with its hashes. */
export const hashedLine = (locked: LockedPackage): string =>
  [requirementLine(locked), ...locked.hashes.map((hash) => `--hash=${hash}`)].join(' ');

/** The line that pip and uv read, without its hashes. */
export const requirementLine = ({ name, version, url }: Pick<LockedPackage, 'name' | 'version' | 'url'>): string =>
  url === null ? `${name}==${version}` : `${name} @ ${url}`;
