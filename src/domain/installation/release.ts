import { z } from 'zod';
import { Time } from '../observed.ts';
import { LockChange, LockedSource } from './lock.ts';

/** Where a pack comes from when it does not come from git. */
export const PackSource = z.discriminatedUnion('kind', [
  /** A zip; `${VAR}` in its URL stays as written. sha256 null: whatever is there. */
  z.object({ kind: z.literal('archive'), url: z.string(), sha256: z.string().nullable() }),
  /** Comfy Registry; version null: the newest that is active. */
  z.object({ kind: z.literal('registry'), id: z.string(), version: z.string().nullable() }),
  /** Absolute, or relative to the shared folder. */
  z.object({ kind: z.literal('directory'), path: z.string() }),
]);
export type PackSource = z.infer<typeof PackSource>;

/** One entry of config_nodes.json after its quirks were ironed out (comfyui.md section 8). */
export const PackSpec = z.object({
  /** Directory name below custom_nodes. */
  name: z.string(),
  /** Of git; for other sources what people may see of it: `registry:id@1.2.3`, a path, a URL without secrets. */
  url: z.string(),
  branch: z.string().nullable(),
  commit: z.string().nullable(),
  recursive: z.boolean(),
  /** Git LFS files are fetched; absent: no. */
  lfs: z.literal(true).optional(),
  /** Absent: git. */
  source: PackSource.optional(),
  requirements: z.boolean(),
  /** Values as written: `${VAR}` whole or inside text; expanded only when the `.env` is written. */
  env: z.record(z.string(), z.string()),
  customScript: z.string().nullable(),
});
export type PackSpec = z.infer<typeof PackSpec>;

/** Where ComfyUI comes from, after defaults. */
export const SourceSpec = z.object({
  repository: z.string(),
  branch: z.string().nullable(),
  commit: z.string().nullable(),
  fallbackRepository: z.string().nullable(),
});
export type SourceSpec = z.infer<typeof SourceSpec>;

/** Everything that decides what a release contains; its digest decides whether a release is the right one. */
export const InstallationSpec = z.object({
  source: SourceSpec,
  packs: z.array(PackSpec),
  python: z.object({
    interpreter: z.string().nullable(),
    version: z.string().nullable(),
    torch: z.string(),
    overrides: z.array(z.string()),
    constraints: z.array(z.string()),
    extraRequirements: z.array(z.string()),
    indexUrl: z.string().nullable(),
    extraIndexUrls: z.array(z.string()),
    findLinks: z.array(z.string()),
  }),
  customScripts: z.boolean(),
});
export type InstallationSpec = z.infer<typeof InstallationSpec>;

export const PackState = z.enum(['pending', 'fetching', 'fetched', 'installing', 'installed', 'loaded', 'failed']);
export type PackState = z.infer<typeof PackState>;

export const PackStatus = z.object({
  name: z.string(),
  state: PackState,
  url: z.string(),
  commit: z.string().nullable(),
  /** Where its files come from, exactly; null: they are not there. */
  source: LockedSource.nullable().default(null),
  /** What went wrong and what to do; set when state is failed. */
  error: z.string().nullable(),
  /** Left out because its requirements do not fit, or it ends ComfyUI: trying again without a change cannot help. */
  quarantined: z.boolean().default(false),
  warnings: z.array(z.string()),
  /** Untracked paths that the installation itself made in the pack's folder; what appears later is the pack's own state. */
  generated: z.array(z.string()),
  /** Files of its source that scripts changed while the release was built; sha256 null: they removed it. */
  altered: z.array(z.object({ path: z.string(), sha256: z.string().nullable() })).default([]),
});
export type PackStatus = z.infer<typeof PackStatus>;

/** Result of the trial start. */
export const Proof = z.object({
  at: Time,
  startMs: z.int(),
  canaryMs: z.int().nullable(),
  protocol: z.enum(['fork', 'upstream']),
  /** Node classes by python_module: a later release may not lose any of them by accident. Empty in releases of earlier agents. */
  nodeClasses: z.record(z.string(), z.array(z.string())).default({}),
  /** Classes that graphs in workflows/ ask for and this release does not have; told, and accepted when it was proved. */
  missingNodes: z.array(z.string()).default([]),
  /** torch.version.cuda of the release; null: not asked, or a build without CUDA. */
  torchCuda: z.string().nullable().default(null),
  /** Where a CUDA operation was seen to work; `pending`: no card was free, the first instance moved to it proves it; `none`: no GPU is used. */
  cuda: z.enum(['none', 'pending', 'trial', 'instance']).default('none'),
});
export type Proof = z.infer<typeof Proof>;

/** failed.json (not proved) and rejected.json (proved, but instances did not become ready on it): why a release is not to be used. */
export const ReleaseFailure = z.object({ at: Time, reason: z.string(), code: z.string().nullable().default(null) });
export type ReleaseFailure = z.infer<typeof ReleaseFailure>;

/** release.json: written last, so that a directory without it is visibly half built. */
export const Release = z.object({
  schema: z.literal(1),
  id: z.string(),
  createdAt: Time,
  /** sha256 of the InstallationSpec in canonical JSON. */
  specDigest: z.string(),
  /** sha256 of the lock it was built by, which lies in its directory; null: it is older than locks. */
  lockDigest: z.string().nullable().default(null),
  /** What was asked for. */
  spec: InstallationSpec,
  source: z.object({
    repository: z.string(),
    branch: z.string().nullable(),
    commit: z.string(),
    fallback: z.boolean(),
    fallbackReason: z.string().nullable(),
  }),
  comfyuiVersion: z.string().nullable(),
  pythonVersion: z.string(),
  torch: z.string().nullable(),
  /** Relative to the release directory. */
  python: z.string(),
  /** What nobody may move, for pip and uv; relative to the release directory. null: no package was installed. */
  constraints: z.string().nullable().default(null),
  packs: z.array(PackStatus),
  /** Flags that main.py of this release understands. */
  flags: z.array(z.string()),
  /** Python packages: name -> version. */
  packages: z.record(z.string(), z.string()),
  warnings: z.array(z.string()),
  /** What was proved before it came into use; null: it was installed without a trial start. */
  validated: Proof.nullable(),
  durations: z.record(z.string(), z.int()),
});
export type Release = z.infer<typeof Release>;

export const InstallStepName = z.enum([
  'prepare',
  'source',
  'packs',
  'resolve',
  'environment',
  'pack-setup',
  'links',
  'validate',
  'activate',
  'rollout',
]);
export type InstallStepName = z.infer<typeof InstallStepName>;

export const InstallStep = z.object({
  name: InstallStepName,
  state: z.enum(['pending', 'running', 'done', 'failed', 'skipped']),
  startedAt: Time.nullable(),
  durationMs: z.int().nullable(),
  /** Received over the network, as far as the tools tell. */
  bytes: z.int(),
  /** What was needed, and how much of it lay in the caches (repositories, packages); null: not counted in this step. */
  cache: z.object({ hits: z.int(), total: z.int() }).nullable(),
  detail: z.string().nullable(),
});
export type InstallStep = z.infer<typeof InstallStep>;

/** An installation in flight (or the last one), as health and the CLI show it. */
export const InstallProgress = z.object({
  releaseId: z.string(),
  step: InstallStepName,
  steps: z.array(InstallStep),
  /** 0..1 over all steps. */
  progress: z.number().min(0).max(1),
  bytes: z.int(),
  etaMs: z.int().nullable(),
  packs: z.array(PackStatus),
  /** What this release changes, known once everything is resolved; null: not yet. */
  difference: z.array(LockChange).nullable(),
  /** The newest line of output, for a live view. */
  activity: z.string().nullable(),
  lastError: z.object({ code: z.string(), message: z.string(), help: z.string() }).nullable(),
  logFile: z.string(),
});
export type InstallProgress = z.infer<typeof InstallProgress>;
