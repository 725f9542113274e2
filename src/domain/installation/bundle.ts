import { z } from 'zod';
import { Time } from '../observed.ts';
import { Sha256 } from './lock.ts';
import { InstallationSpec } from './release.ts';

/**
 * An offline bundle: a tar archive with everything that agent.lock.json names. Its first member is manifest.json, the
 * others follow in the order of `members`. Sums find damage, not forgery: who can write a bundle is trusted like who can
 * write config_nodes.json.
 */

/** Name of the first member. */
export const MANIFEST_NAME = 'manifest.json';

/** A name inside the archive: one directory at most, nothing that any program could read as something else. */
const MemberName = z.string().regex(/^(?:[a-z]{1,20}\/)?[A-Za-z0-9_][A-Za-z0-9._-]{0,89}$/);
/** The name of a file that a package index would give out. */
const WheelName = z.string().regex(/^[A-Za-z0-9_][A-Za-z0-9_.+!-]{0,240}\.whl$/);
/** Relative, and it stays below where it is put. */
const ModelPath = z
  .string()
  .max(1_000)
  .refine(
    (path) => path.split('/').every((part) => part !== '' && part !== '.' && part !== '..') && !/[\\\0]/.test(path),
    'leaves its place',
  );

const base = { name: MemberName, sha256: Sha256, sizeBytes: z.int().min(0) };

export const BundleMember = z.discriminatedUnion('kind', [
  /** agent.lock.json */
  z.strictObject({ ...base, kind: z.literal('lock') }),
  /** config_nodes.json, static-models.json: taken where the machine has none. */
  z.strictObject({ ...base, kind: z.literal('nodes') }),
  z.strictObject({ ...base, kind: z.literal('models-list') }),
  /** A git bundle with the history of these commits. */
  z.strictObject({ ...base, kind: z.literal('repository'), url: z.string(), commits: z.array(z.string().regex(/^[0-9a-f]{40}$/)).min(1) }),
  /** `built`: made from source for this bundle, so the lock has no digest of it. */
  z.strictObject({ ...base, kind: z.literal('wheel'), package: z.string(), version: z.string(), file: WheelName, built: z.boolean() }),
  /** uv as its wheel. */
  z.strictObject({ ...base, kind: z.literal('uv'), file: WheelName }),
  /** A zip of a registry; its digest is that of the lock. */
  z.strictObject({ ...base, kind: z.literal('archive') }),
  /** `path` is relative to the models directory. */
  z.strictObject({ ...base, kind: z.literal('model'), path: ModelPath }),
]);
export type BundleMember = z.infer<typeof BundleMember>;

export const BundleManifest = z.strictObject({
  schema: z.literal(1),
  /** Version of the agent that made it. */
  createdBy: z.string(),
  createdAt: Time,
  /** sha256 of the lock in canonical JSON. */
  lockDigest: z.string(),
  /** What the lock was made for; no credentials. */
  spec: InstallationSpec,
  members: z.array(BundleMember),
  /** What an installation may need and must find on the machine. */
  notIncluded: z.array(z.object({ what: z.string(), reason: z.string() })),
});
export type BundleManifest = z.infer<typeof BundleManifest>;
