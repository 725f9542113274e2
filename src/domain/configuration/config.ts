import { z } from 'zod';
import { GpuConfig } from './gpu.ts';
import { HealthConfig } from './health.ts';
import { Cleanup, Disk, Instances, Log, Memory } from './upkeep.ts';

/**
 * The configuration: one schema for file, environment and flags. Defaults live here and nowhere else.
 * Secrets are not part of it (see `Secrets`); durations end in `Ms`, sizes say their unit.
 */

const tcpPort = z.int().min(1).max(65_535);
const duration = z.int().min(0);
const text = z.string().min(1);

/** The fork that the workers of the predecessor speak to, and the commit it used of the official repository. */
export const DEFAULT_REPOSITORY = 'https://github.com/stakeordie/ComfyUI.git';
export const DEFAULT_BRANCH = 'forward';
export const OFFICIAL_COMMIT = '02a1b01aad28470f06c8b4f95b90914413d3e4c8';
/** Names the simulator that is part of the agent. */
export const SIMULATOR_REPOSITORY = 'simulator:';

const Comfyui = z.strictObject({
  enabled: z.boolean().default(true).describe('false: nothing is installed or started, health answers 200 with "disabled"'),
  repository: text.default(DEFAULT_REPOSITORY).describe('git URL, local path, or "simulator:" for the embedded simulator'),
  branch: text
    .nullable()
    .default(null)
    .describe(`branch or tag; "${DEFAULT_BRANCH}" for the default repository, else the default branch of the repository`),
  commit: z
    .string()
    .regex(/^[0-9a-f]{7,40}$/i, 'a commit is 7 to 40 hexadecimal digits')
    .nullable()
    .default(null)
    .describe('7 to 40 hexadecimal digits; wins over the branch'),
  fallbackRepository: text.nullable().default(null).describe('installed, and reported as degraded, when the first cannot be reached'),
  installPath: text.nullable().default(null).describe('a link to the current checkout; default <root>/ComfyUI'),
  listen: text.default('127.0.0.1').describe('address every instance listens on'),
  arguments: z.array(z.string()).default([]).describe('extra arguments for main.py'),
  environment: z.record(z.string(), z.string()).default({}).describe('further environment variables of every instance; never secrets'),
});

const Ports = z.strictObject({
  first: tcpPort.default(8188).describe('port of GPU 0; GPU n gets first + n'),
  onConflict: z
    .enum(['hold', 'next'])
    .default('hold')
    .describe('what to do when a stranger holds a port: wait and say so, or take the next free one'),
});

const Packs = z.strictObject({
  file: text.nullable().default(null).describe('default <root>/shared/config_nodes.json'),
  names: z.array(text).nullable().default(null).describe('only these packs of the file'),
  directories: z
    .array(text)
    .default([])
    .describe('pack directories outside the release that ComfyUI may load, when comfy_dir_config.yaml lists them'),
  testMode: z.boolean().default(false).describe('read config_nodes_test.json instead'),
  customScripts: z.boolean().default(true).describe('whether custom_script entries are run'),
  scriptTimeoutMs: duration.default(600_000),
  registryUrl: text.default('https://api.comfy.org').describe('Comfy Registry, for packs named by "registry"'),
  waivers: z
    .array(z.strictObject({ pack: text, reason: text }))
    .default([])
    .describe('packs that are taken although an advisory or their registry status speaks against them, with the reason'),
});

const Install = z.strictObject({
  onChange: z
    .enum(['hold', 'install'])
    .default('hold')
    .describe(
      'what to do when the configuration asks for something other than the release in place: say so and wait for `agent install`, or install',
    ),
  lockFile: text.nullable().default(null).describe('default <root>/agent.lock.json; below shared/ it travels with the shared repository'),
  onConflict: z
    .enum(['quarantine', 'fail'])
    .default('quarantine')
    .describe('node packs whose requirements do not fit with the rest: leave them out and install the others, or install nothing'),
  concurrency: z.int().min(1).max(32).default(4).describe('packs fetched side by side'),
  gitMirror: z
    .record(z.string(), text)
    .default({})
    .describe(
      'URL prefix -> URL prefix that git speaks to in its place; the longest wins; for ComfyUI, packs, submodules and the shared repository',
    ),
  gitTimeoutMs: duration.default(600_000).describe('a git transfer without progress for this long is given up'),
  pythonTimeoutMs: duration.default(3_600_000),
  validate: z.boolean().default(true).describe('start the new release once before it becomes current'),
  validateTimeoutMs: duration.default(600_000).describe('limit on a trial start whose log does not move'),
  allowMissingNodes: z
    .array(text)
    .default([])
    .describe('node classes that a new release may lack although the one before had them or a workflow asks for them'),
  minFreeDiskMb: z.int().min(0).default(512).describe('an installation is not begun with less'),
});

const Python = z.strictObject({
  interpreter: text.nullable().default(null).describe('default python3'),
  version: z
    .string()
    .regex(/^3\.\d+(\.\d+)?$/)
    .nullable()
    .default(null)
    .describe('a Python that uv should find or fetch; default: the interpreter'),
  torch: z
    .string()
    .regex(/^(auto|cpu|cu\d{2,3}|[\w.+!-]+(==\S+)?)$/)
    .default('auto')
    .describe('auto (by driver), cpu, cuNNN, or a pin such as 2.7.1+cu128'),
  overrides: z
    .array(z.union([text, z.strictObject({ requirement: text, reason: text })]))
    .default([])
    .describe('requirement lines that win over what anybody asks for, each alone or with the reason why'),
  constraints: z.array(text).default([]),
  extraRequirements: z.array(text).default([]),
  indexUrl: text.nullable().default(null),
  extraIndexUrls: z.array(text).default([]),
  findLinks: z.array(text).default([]),
});

const Models = z.strictObject({
  path: text.nullable().default(null).describe('default <root>/shared/models'),
  required: z
    .array(
      z.union([
        text,
        z.strictObject({
          path: text,
          sha256: z
            .string()
            .regex(/^[0-9a-f]{64}$/i)
            .optional(),
          sizeBytes: z.int().min(0).optional(),
        }),
      ]),
    )
    .default([])
    .describe('files below the models directory that must be there'),
});

const SharedRepository = z.strictObject({
  url: text.nullable().default(null),
  branch: text.nullable().default(null),
});

const Ssh = z.strictObject({
  keyFile: text.nullable().default(null),
  knownHostsFile: text.nullable().default(null).describe('further host keys; those of GitHub and GitLab are built in'),
});

const Api = z.strictObject({
  host: text.default('127.0.0.1'),
  port: z.int().min(0).max(65_535).default(9090).describe('0 lets the kernel choose'),
  tokenFile: text.nullable().default(null),
  advertiseHost: text
    .nullable()
    .default(null)
    .describe('host told to workers; default: the listen address, or the machine name when that is a wildcard'),
  allowedHosts: z.array(text).default([]).describe('further Host header names to serve'),
  allowedOrigins: z.array(text).default([]),
  maxStreams: z
    .int()
    .min(1)
    .max(400)
    .default(32)
    .describe('event streams at one time: so many over the unix socket, so many over TCP with the token, and so many without'),
});

const Pm2 = z.strictObject({
  mode: z
    .enum(['owned', 'external'])
    .default('owned')
    .describe('owned: the agent starts and stops the PM2 daemon; external: another unit runs it'),
  home: text.nullable().default(null).describe('directory of the sockets of the PM2 daemon; default <state>/pm2'),
  template: text.nullable().default(null).describe('a module that replaces ecosystem.template.js'),
  leftovers: z
    .enum(['drain', 'end'])
    .default('drain')
    .describe(
      'processes of an instance that a killed PM2 daemon left: let their jobs end first (health.drainTimeoutMs), or end them at once',
    ),
  deafTimeoutMs: duration.default(10_000).describe('owned: a PM2 daemon that answers nothing for this long is replaced'),
  stopGraceMs: duration
    .nullable()
    .default(null)
    .describe(
      'owned: all of it that a SIGTERM to the agent may take, where a container is killed after that; null: health.drainTimeoutMs for jobs',
    ),
  killTimeoutMs: duration.default(15_000).describe('time between SIGINT and SIGKILL'),
  restartDelayMs: duration.default(250).describe('pause between the end of a process and its respawn'),
});

const Users = z.strictObject({
  comfyui: text
    .nullable()
    .default(null)
    .describe(
      'the user that ComfyUI, packs and what builds them run as, when it is another one than the agent: it cannot read the state and secrets of the agent, which needs the rights that its unit gives; null: the same user',
    ),
});

const Releases = z.strictObject({
  keep: z.int().min(1).default(3).describe('installations kept on disk; the current one and the last proved one before it always are'),
});

export const Config = z.strictObject({
  root: text.default('/workspace').describe('everything the agent owns lies below it'),
  stateDir: text.nullable().default(null).describe('default <root>/state'),
  runDir: text.nullable().default(null).describe('default <root>/run'),
  comfyui: Comfyui.prefault({}),
  gpu: GpuConfig.prefault({}),
  ports: Ports.prefault({}),
  packs: Packs.prefault({}),
  install: Install.prefault({}),
  python: Python.prefault({}),
  models: Models.prefault({}),
  sharedRepository: SharedRepository.prefault({}),
  ssh: Ssh.prefault({}),
  api: Api.prefault({}),
  pm2: Pm2.prefault({}),
  health: HealthConfig.prefault({}),
  users: Users.prefault({}),
  releases: Releases.prefault({}),
  log: Log.prefault({}),
  cleanup: Cleanup.prefault({}),
  disk: Disk.prefault({}),
  memory: Memory.prefault({}),
  instances: Instances.prefault({}),
});
export type Config = z.infer<typeof Config>;
export type CleanupArea = Config['cleanup']['whenLow'][number];

/** What the operator may write: every key optional. */
export type ConfigInput = z.input<typeof Config>;

/** Values that must never be shown, stored or logged; kept apart from Config so that no document can carry them. */
export interface Secrets {
  /** Bearer token for state-changing calls over TCP. */
  readonly token: string | null;
  /** Path of the token file that was named by environment, read by the composition root. */
  readonly tokenFile: string | null;
  /** CUT_PK_1..3 joined and decoded: an OpenSSH private key. */
  readonly sshKey: string | null;
  /** The agent's environment, for `${VAR}` in pack `.env` files and pass-through to uv and git. */
  readonly environment: Readonly<Record<string, string>>;
}

export type ConfigSource = 'default' | 'file' | 'environment' | 'flag';

/** Where one effective value came from: the file's path, the variable's name or the flag. */
export const Provenance = z.object({
  path: z.string(),
  value: z.unknown(),
  source: z.enum(['default', 'file', 'environment', 'flag']),
  origin: z.string().nullable(),
});
export type Provenance = z.infer<typeof Provenance>;

/** All directories and files derived from a Config; computed once by `plan/configuration/layout.ts`. */
export interface Layout {
  readonly root: string;
  readonly releases: string;
  readonly current: string;
  readonly installPath: string;
  readonly shared: string;
  readonly models: string;
  readonly inputs: string;
  readonly outputs: string;
  readonly packState: string;
  readonly workflows: string;
  readonly configNodes: string;
  readonly directoryConfig: string;
  readonly staticModels: string;
  readonly instances: string;
  readonly cache: string;
  /** What is the agent's alone, 0700: packs may not even see it (records; with two users also mirrors, and trees that are being made). */
  readonly closed: string;
  /** By release: what the agent noted of it, and obeys. */
  readonly records: string;
  /** What Python compiled, by release. */
  readonly bytecode: string;
  readonly state: string;
  readonly run: string;
  readonly logs: string;
  readonly pm2Home: string;
  readonly socket: string;
  /** The run directory's path is too long for a socket, so that `socket` lies in a directory of its own below /tmp, to be made 0700. */
  readonly socketFallback: boolean;
  /** agent.lock.json */
  readonly lockFile: string;
  /** Held by the one agent that owns the root. */
  readonly rootLock: string;
  readonly database: string;
}
