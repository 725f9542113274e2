/**
 * The outer world on one page: one interface for each thing outside the program. `adapters/` implements each once for
 * real, `test/fakes` once in memory, and `test/contract` runs one suite on both.
 *
 * All calls reject with AgentError only; what could not be asked is the caller's "unknown", never "failed".
 */

import type { Instruction } from './domain/foreign.ts';
import type { Gpu, GpuReading, MachineFacts } from './domain/gpu.ts';
import type { Incarnation, InstanceLaunch, Pm2Entry, PortHolder, ProcessEvent, ProcessState } from './domain/instance.ts';
import type { KernelMessage } from './domain/kernel-message.ts';
import type { LockedPackage, LockedSubmodule } from './domain/lock.ts';
import type { MemoryCounters } from './domain/memory-group.ts';
import type { ProcessIdentity } from './domain/ownership.ts';
import type { RegistryRequest, RegistryVersion } from './domain/registry.ts';
import type { Inodes, Upkeep } from './domain/upkeep.ts';

/** Structured logging, the shape of pino: facts first, static message second. */
export interface Logger {
  debug(facts: object, message: string): void;
  info(facts: object, message: string): void;
  warn(facts: object, message: string): void;
  error(facts: object, message: string): void;
  child(facts: object): Logger;
}

export interface Clock {
  /** Epoch milliseconds. */
  now(): number;
  /** Milliseconds that never go backwards. */
  monotonic(): number;
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

/** How a command ended. Never throws for a non-zero exit unless asked. */
export interface CommandResult {
  readonly exitCode: number | null;
  readonly signal: string | null;
  readonly timedOut: boolean;
  readonly stdout: string;
  /** Last part of both streams in order of arrival, at most 16 KiB. */
  readonly tail: string;
  readonly durationMs: number;
}

export interface CommandOptions {
  readonly cwd?: string;
  /** The whole environment of the child; nothing is inherited. */
  readonly environment?: Readonly<Record<string, string>>;
  readonly timeoutMs?: number;
  /** Ended when no output arrives for this long. */
  readonly silenceMs?: number;
  readonly signal?: AbortSignal;
  readonly input?: string;
  /** A file that is sent to its standard input. */
  readonly inputFile?: string;
  /** Every line of both streams as it comes. */
  readonly onLine?: (line: string, stream: 'stdout' | 'stderr') => void;
  /** Limit on what `stdout` keeps; default 4 MiB. */
  readonly maxOutputBytes?: number;
}

/** A child that runs on while we look at it (trial starts). Its whole process group is ended by `end`. */
export interface RunningCommand {
  readonly pid: number;
  readonly finished: Promise<CommandResult>;
  /** SIGINT, then SIGKILL to the group after the grace period. */
  end(graceMs: number): Promise<CommandResult>;
}

/** Programs on this machine, run without a shell. */
export interface Shell {
  run(file: string, args: readonly string[], options?: CommandOptions): Promise<CommandResult>;
  spawn(file: string, args: readonly string[], options?: CommandOptions): RunningCommand;
  /** Absolute path of a program on PATH, or null. */
  which(file: string): Promise<string | null>;
}

/** PM2: hosts and respawns the instances. One call at a time for each name; every call has a time limit. */
export interface Processes {
  /** Connects; in owned mode launches the daemon when there is none, and with `replace` in place of one that is deaf. */
  connect(options?: { readonly replace?: boolean }): Promise<void>;
  list(): Promise<readonly ProcessState[]>;
  /** Whether it can be started at all. @throws AgentError TEMPLATE_INVALID, INSTANCE_FAILED, as `start` would */
  check(entry: Pm2Entry): Promise<void>;
  /** Deletes an entry of that name, then starts the new one (PM2 would merge). */
  start(entry: Pm2Entry): Promise<void>;
  /** Stops the process tree and keeps the entry stopped. */
  stop(name: string): Promise<void>;
  /** Stops and forgets. Not an error when there is none. */
  remove(name: string): Promise<void>;
  onEvent(listener: (event: ProcessEvent) => void): () => void;
  /** RSS of the daemon and its pid, for figures. */
  daemonPid(): Promise<number | null>;
  /** Leaves the daemon running. */
  disconnect(): Promise<void>;
  /** Removes every entry and ends the daemon (owned mode, agent exit). */
  shutdown(): Promise<void>;
}

/** ecosystem.template.js, or the replacement named by `pm2.template`. @throws AgentError TEMPLATE_INVALID */
export interface EntryTemplate {
  toEntry(launch: InstanceLaunch, templateFile: string | null): Promise<Pm2Entry>;
}

/**
 * Facts of the kernel about processes and ports (Linux /proc). Never signals anything by itself. A process that is there
 * and may not be read, or is hidden (hidepid), is neither gone nor a stranger: `incarnation`, `tree`, `residentBytes` and
 * `end` reject with FILE_UNREADABLE then.
 */
export interface Kernel {
  /** null when there is no such process. */
  incarnation(pid: number): Promise<Incarnation | null>;
  /** Command line for people, secrets not masked by us; null when unreadable. */
  command(pid: number): Promise<string | null>;
  /** Value of an environment variable of a process; null when unset or unreadable. */
  environmentOf(pid: number, name: string): Promise<string | null>;
  /** Its incarnation and these variables of its environment; null: no such process. Rejects too when the environment may not be read. */
  identity(pid: number, names: readonly string[]): Promise<ProcessIdentity | null>;
  /** pids of the process, all its descendants, and what is in the session or group that it leads; the process first. */
  tree(pid: number): Promise<readonly number[]>;
  /** Listening holders of the given ports; a holder's pid is null when it may not be read. */
  portHolders(tcpPorts: readonly number[]): Promise<readonly PortHolder[]>;
  /** Whether this pid listens on the port: a cheap check of one process. `null` when it cannot be told. */
  listensOn(pid: number, tcpPort: number): Promise<boolean | null>;
  /** All processes whose environment has name=value, or the name with any value. Those that may not be read are passed over. */
  withEnvironment(name: string, value: string | null): Promise<readonly number[]>;
  /** Bytes of resident memory. */
  residentBytes(pid: number): Promise<number | null>;
  /**
   * What a process does just now: its state (R, S, D, T stopped, t traced, …), and the CPU time that it and all its living
   * descendants have used. `waitsForDisk`: one of them is in an uninterruptible wait. null when there is no such process.
   */
  activity(pid: number): Promise<{ readonly state: string; readonly cpuMs: number; readonly waitsForDisk: boolean } | null>;
  /** Memory cgroup of a process (its directory), to be remembered while it lives; null: none, or not to be seen. */
  memoryGroup(pid: number): Promise<string | null>;
  /** What the kernel counted in a memory cgroup, of version 1 or 2; null when it cannot be read. */
  memoryCounters(group: string): Promise<MemoryCounters | null>;
  /** The newest line of the kernel's log that tells of this pid's end by the OOM killer; null: none, or the log may not be read. */
  outOfMemoryLine(pid: number): Promise<string | null>;
  /** Signals the process, only if it still is the named incarnation. */
  end(incarnation: Pick<Incarnation, 'pid' | 'startTicks'>, signal: 'SIGINT' | 'SIGTERM' | 'SIGKILL'): Promise<boolean>;
}

export interface Hardware {
  /**
   * One nvidia-smi reading, within the time limit. Where the driver ends at a card that it cannot reach, those of `before`
   * (as seen earlier, by whomever) are asked for one by one. @throws AgentError GPU_QUERY_FAILED
   */
  gpus(before?: readonly Pick<Gpu, 'uuid' | 'pciBusId'>[]): Promise<GpuReading>;
  /** Facts that programs must be asked for: up to seconds. */
  machine(root: string): Promise<MachineFacts>;
  /** Known without asking anybody. */
  hostname(): string;
}

/** The log of the kernel: /dev/kmsg, else the system's journal. Both reject with KERNEL_LOG_UNREADABLE. */
export interface KernelLog {
  /** What the log still holds of messages with these words in them. */
  read(words: string): Promise<readonly KernelMessage[]>;
  /** The same, then each new one within about a second; ends with the abort. */
  follow(words: string, onMessage: (message: KernelMessage) => void, signal: AbortSignal): Promise<void>;
}

export interface GitSource {
  readonly url: string;
  readonly branch: string | null;
  readonly commit: string | null;
}

export interface GitCheckout {
  readonly commit: string;
  /** The branch or tag that was resolved; null for a bare commit. */
  readonly branch: string | null;
  readonly commitDate: string | null;
  /** Of all depths, by path; empty when submodules were not asked for. */
  readonly submodules: readonly LockedSubmodule[];
  /** Paths of Git LFS pointer files that were not fetched. */
  readonly lfsPointers: readonly string[];
  /** What is left out of the work tree and why, in words. */
  readonly warnings: readonly string[];
}

export interface GitProgress {
  readonly stage: string;
  /** 0..1 where git tells. */
  readonly fraction: number | null;
  readonly bytes: number;
}

export interface GitOptions {
  readonly signal?: AbortSignal;
  /** Told once for each repository or archive: whether all of it lay in the cache. */
  readonly onCache?: (isCached: boolean) => void;
  readonly onProgress?: (progress: GitProgress) => void;
}

/**
 * git, hermetic: no user or system configuration, no prompt ever, SSH with strict host keys. Objects are shared through
 * a mirror per URL under the cache.
 */
export interface Git {
  /** Commit the source names now (asks the remote unless a full commit is named and already mirrored). */
  resolve(source: GitSource, options?: GitOptions): Promise<{ readonly commit: string; readonly branch: string | null }>;
  /** Fetches into the mirror and writes a full work tree of `commit` at `directory` (must not exist). */
  checkout(
    source: GitSource,
    directory: string,
    options: GitOptions & {
      readonly recursive: boolean;
      /** Git LFS pointers are replaced by their files; default false. */
      readonly lfs?: boolean;
    },
  ): Promise<GitCheckout>;
  /**
   * Brings a work tree in place to the head of the branch: init, fetch, checkout; never clean, never reset. `closed`: others may
   * not write what is obeyed.
   * @throws AgentError SHARED_REPOSITORY_DIRTY when a tracked file was changed or an untracked one is in the way
   */
  updateInPlace(source: GitSource, directory: string, options?: GitOptions & { readonly closed?: boolean }): Promise<GitCheckout>;
  /** HEAD of a work tree and which tracked files differ from it (submodules count by their path); null when it is no work tree. */
  inspect(directory: string): Promise<{ readonly commit: string; readonly changed: readonly string[] } | null>;
  /** Paths in a work tree that git does not track, ignored ones included, directories collapsed, without __pycache__. */
  untracked(directory: string): Promise<readonly string[]>;
  /**
   * Writes the history of these commits of one repository into a git bundle; what the mirror lacks is fetched.
   * @param url may hold credentials, as everywhere
   */
  createBundle(url: string, commits: readonly string[], file: string, options?: GitOptions): Promise<void>;
  /**
   * Puts the commits of a git bundle into the mirror of that URL, so that a checkout of them asks nobody.
   * @throws AgentError BUNDLE_INVALID when the file is damaged or lacks one of the commits
   */
  importBundle(url: string, commits: readonly string[], file: string, options?: GitOptions): Promise<void>;
  /** Version of the git program. @throws AgentError GIT_MISSING */
  version(): Promise<string>;
}

/** Packs that do not come from git. Each call writes a whole tree at `directory` (must not exist) and records its files there. */
export interface Sources {
  /** @throws AgentError SOURCE_NOT_FOUND, SOURCE_UNREACHABLE */
  registryVersion(request: RegistryRequest, options?: GitOptions): Promise<RegistryVersion>;
  /**
   * Unpacks a zip; the one of a known digest comes from the cache.
   * @param request `url` may hold credentials, which go to its host only
   * @throws AgentError DIGEST_DIFFERS naming both digests, ARCHIVE_INVALID, SOURCE_REFUSED when it tries to leave its place
   */
  archive(
    request: { readonly url: string; readonly sha256: string | null },
    directory: string,
    options?: GitOptions,
  ): Promise<{ readonly sha256: string }>;
  /** The zip of that digest in the cache, fetched where it is not there. @returns its path. Same errors */
  archiveFile(request: { readonly url: string; readonly sha256: string }, options?: GitOptions): Promise<string>;
  /** Puts a zip into the cache under its digest, which the caller has verified. */
  adoptArchive(file: string, sha256: string): Promise<void>;
  /** Copies a directory, without `.git` and `__pycache__`. @returns the digest of all paths, modes and contents */
  directory(from: string, directory: string, options?: GitOptions): Promise<{ readonly sha256: string }>;
  /** Files that are not as they were written; null when no source of this kind wrote the directory. */
  changed(directory: string): Promise<readonly string[] | null>;
  /** As Git.untracked; null when no source of this kind wrote the directory. */
  untracked(directory: string): Promise<readonly string[] | null>;
}

export interface PythonIndexes {
  readonly indexUrl: string | null;
  readonly extraIndexUrls: readonly string[];
  readonly findLinks: readonly string[];
}

/** Wheels of an offline bundle: the only source of packages. */
export interface LocalWheels {
  readonly directory: string;
  /** By name of the package: what stands for its pin. */
  readonly packages: ReadonlyMap<string, { readonly version: string; readonly sha256: string }>;
}

export interface ResolveRequest extends PythonIndexes {
  /** No index, no repository and no network is asked; null or absent: the indexes are. */
  readonly wheels?: LocalWheels | null;
  /** Interpreter of the environment. */
  readonly python: string;
  /** Requirement files by label, which names the pack in messages. Nothing outside `within` is read; uv is given a text of our own. */
  readonly requirements: readonly { readonly label: string; readonly file: string; readonly within: string }[];
  readonly constraints: readonly string[];
  readonly overrides: readonly string[];
  /** An earlier resolution: its versions are kept where they still fit. */
  readonly preferences: readonly LockedPackage[];
  /** uv's --torch-backend: cpu, cu126, …; null leaves torch to the indexes. */
  readonly torchBackend: string | null;
  readonly signal?: AbortSignal;
  readonly onLine?: (line: string) => void;
}

export interface PythonEnvironments {
  /** Version of an interpreter, "3.11.7". @throws AgentError PYTHON_MISSING */
  interpreterVersion(interpreter: string): Promise<string>;
  /** What packages are built for on this machine: "linux-x86_64". */
  platform(): string;
  /** Makes a virtual environment and answers with its python, absolute. With no requirements at all uv is not needed. */
  create(
    directory: string,
    options: { readonly interpreter: string; readonly version: string | null; readonly needsUv: boolean; readonly signal?: AbortSignal },
  ): Promise<string>;
  /** Resolves without installing. @returns packages by name, with hashes. @throws AgentError REQUIREMENTS_UNRESOLVED with uv's explanation */
  resolve(request: ResolveRequest): Promise<readonly LockedPackage[]>;
  /** What indexes said is kept for some minutes; after this they are asked anew. */
  forgetIndexes(): Promise<void>;
  /**
   * Installs exactly these, hashes verified, packages hard-linked from the uv cache. Constraints hold for what is built.
   * @returns what does not fit together all the same, one line each (overrides do that on purpose)
   * @throws AgentError ENVIRONMENT_FAILED, HASH_MISMATCH
   */
  install(
    request: Omit<ResolveRequest, 'requirements' | 'overrides' | 'preferences'> & {
      readonly pins: readonly LockedPackage[];
    },
  ): Promise<readonly string[]>;
  /**
   * Puts one wheel for each pin into `directory`: fetched with its hashes verified, or built where there is none to fetch.
   * @returns names of the files, by package
   * @throws AgentError ENVIRONMENT_FAILED, HASH_MISMATCH
   */
  collectWheels(
    request: PythonIndexes & {
      readonly python: string;
      readonly pins: readonly LockedPackage[];
      readonly constraints: readonly string[];
      readonly torchBackend: string | null;
      readonly directory: string;
      readonly signal?: AbortSignal;
      readonly onLine?: (line: string) => void;
    },
  ): Promise<ReadonlyMap<string, string>>;
  /** Puts uv, as this agent pins it for this machine, into `directory` as its wheel. @returns the name of the file. @throws AgentError UV_UNAVAILABLE */
  collectUv(
    request: PythonIndexes & { readonly python: string; readonly directory: string; readonly signal?: AbortSignal },
  ): Promise<string>;
  /** Makes uv available from its wheel unless it is; the digest must be the pinned one. @throws AgentError UV_UNAVAILABLE */
  placeUv(wheel: string): Promise<void>;
  /** Takes packages out of an environment; names that are not there are passed over. @throws AgentError ENVIRONMENT_FAILED */
  remove(python: string, names: readonly string[], options?: { readonly signal?: AbortSignal }): Promise<void>;
  /** Where an installed package came from, as far as the environment tells it: URL and hashes of its direct_url.json. */
  origin(python: string, name: string): Promise<LockedPackage | null>;
  /** name -> version of what is installed. */
  packages(python: string): Promise<Readonly<Record<string, string>>>;
}

export interface ComfyQueue {
  readonly running: number;
  readonly pending: number;
  readonly runningIds: readonly string[];
}

export interface ComfyHistoryEntry {
  readonly completed: boolean;
  readonly status: 'success' | 'error';
  readonly error: { readonly nodeType: string | null; readonly exceptionType: string | null; readonly message: string } | null;
  /** File references by node id. */
  readonly images: readonly { readonly filename: string; readonly subfolder: string; readonly type: string }[];
}

/** One ComfyUI server. A network fault rejects with AgentError; a fault it reports itself is a value. */
export interface Comfy {
  /** GET /prompt: the cheapest sign of life. */
  ping(baseUrl: string, timeoutMs: number): Promise<{ readonly queueRemaining: number }>;
  queue(baseUrl: string, timeoutMs: number): Promise<ComfyQueue>;
  systemStats(
    baseUrl: string,
    timeoutMs: number,
  ): Promise<{
    readonly comfyuiVersion: string | null;
    readonly pythonVersion: string | null;
    readonly torchVersion: string | null;
    readonly devices: readonly { readonly name: string; readonly type: string; readonly vramTotal: number }[];
  }>;
  /** Node classes by python_module. */
  nodeClasses(baseUrl: string, timeoutMs: number): Promise<ReadonlyMap<string, readonly string[]>>;
  submit(baseUrl: string, graph: object, clientId: string, timeoutMs: number): Promise<{ readonly promptId: string }>;
  history(baseUrl: string, promptId: string, timeoutMs: number): Promise<ComfyHistoryEntry | null>;
  forget(baseUrl: string, promptId: string, timeoutMs: number): Promise<void>;
  /** POST /free: the worker thread gives back cached models and memory between jobs. */
  free(baseUrl: string, timeoutMs: number): Promise<void>;
  /** First bytes of an output file, to see that it is really there. */
  view(
    baseUrl: string,
    file: { filename: string; subfolder: string; type: string },
    timeoutMs: number,
  ): Promise<{ readonly contentType: string; readonly bytes: Uint8Array }>;
  /** Opens /ws, waits for the greeting and sees that the connection stays for `holdMs`; rejects when it does not. */
  webSocket(baseUrl: string, timeoutMs: number, holdMs: number): Promise<void>;
  /** Which WebSocket protocol it speaks: the fork greets with `client_id`, upstream does not answer `ping`. */
  protocol(baseUrl: string, timeoutMs: number): Promise<'fork' | 'upstream'>;
}

export interface FileLock {
  release(): Promise<void>;
}

/** Files, directories and links. All writes are atomic (temporary name, fsync, rename). */
export interface Files {
  /** A plain file of the agent's own, at most 64 MiB; null: there is none. @throws AgentError FILE_UNREADABLE */
  readText(path: string): Promise<string | null>;
  /**
   * What ComfyUI, a pack or an archive may have made: a plain file that really lies inside `within`, of at most `maxBytes`,
   * and only what the user of ComfyUI may read. @throws AgentError INPUT_REFUSED with path and reason; FILE_UNREADABLE
   */
  readForeign(path: string, options: { readonly within: string; readonly maxBytes: number }): Promise<string | null>;
  /** sha256 in hex of such a file; null: there is none. Same errors */
  digestForeign(path: string, options: { readonly within: string; readonly maxBytes: number }): Promise<string | null>;
  /** What an operator wrote, and why it may be somebody else's. Links are followed; as plain and as bounded. Same errors. */
  readInstruction(path: string, options: { readonly maxBytes: number }): Promise<Instruction | null>;
  writeText(path: string, content: string, mode?: number): Promise<void>;
  exists(path: string): Promise<boolean>;
  isDirectory(path: string): Promise<boolean>;
  size(path: string): Promise<number | null>;
  modifiedAt(path: string): Promise<number | null>;
  list(directory: string): Promise<readonly string[]>;
  ensureDirectory(path: string, mode?: number): Promise<void>;
  remove(path: string): Promise<void>;
  /** To another filesystem too; onto a file or an empty directory, never onto a full one. Cut anywhere, it can be repeated. */
  move(from: string, to: string): Promise<void>;
  /** Copies a tree, links as links; existing files are kept when `overwrite` is false. */
  copyTree(from: string, to: string, options?: { readonly overwrite: boolean }): Promise<void>;
  /** Makes or atomically replaces a symlink. Refuses (returns false) when something that is no link is in the way. */
  link(target: string, path: string): Promise<boolean>;
  readLink(path: string): Promise<string | null>;
  realPath(path: string): Promise<string | null>;
  /** sha256 in hex. */
  digest(path: string, signal?: AbortSignal): Promise<string>;
  freeBytes(path: string): Promise<number | null>;
  /** null: nothing is there, or its filesystem makes as many as it needs. */
  inodes(path: string): Promise<Inodes | null>;
  /** Bytes below a directory, links not followed. */
  treeSize(path: string): Promise<number>;
  /** The same, and how much of it is in no other place (files with one name only): what its removal would free. */
  treeUsage(path: string): Promise<{ readonly bytes: number; readonly ownBytes: number }>;
  /** Another text whenever anything below the directory was added, removed, renamed or written, also when its content is the same. */
  treeStamp(path: string): Promise<string>;
  /** Takes the lock or tells who has it: the lock dies with its process. @throws AgentError ROOT_LOCKED */
  lock(path: string, owner: string): Promise<FileLock>;
  appendLine(path: string, line: string): Promise<void>;
  /** The last `lines` lines, then (when following) each new one; survives truncation and rename. */
  tail(path: string, options: { readonly lines: number; readonly follow: boolean }, signal: AbortSignal): AsyncIterable<string>;
  /**
   * Bytes from `offset` on, as text, at most `limit` of them; a negative offset counts from the end. `next` is where to go on,
   * `size` the length of the file now: smaller than an offset of before when it was truncated. null when there is none.
   */
  readPart(
    path: string,
    offset: number,
    limit: number,
  ): Promise<{ readonly text: string; readonly next: number; readonly size: number } | null>;
  /** Calls back (debounced) when one of the files is written, made or removed. */
  watch(paths: readonly string[], onChange: (path: string) => void): Promise<{ close(): Promise<void> }>;
}

export interface ArchiveFile {
  /** As it stands in the archive: relative, without `.` and `..`. */
  readonly name: string;
  /** Where its content is, or goes to. */
  readonly path: string;
}

/** Archives of plain files (tar), streamed. */
export interface Archives {
  /**
   * Writes a new archive, 0600, whole or not there: first `index`, then the files in their order.
   * @throws AgentError COMMAND_FAILED when `file` is there already or cannot be written, DISK_FULL
   */
  create(
    file: string,
    index: { readonly name: string; readonly text: string },
    files: readonly ArchiveFile[],
    options?: { readonly signal?: AbortSignal; readonly onProgress?: (bytes: number) => void },
  ): Promise<void>;
  /**
   * Reads an archive once. The first member must be `index`; what it says (`expect`) must follow to the letter: these
   * members in this order, plain files of this size and digest, and nothing else. What was written before a fault stays
   * for the caller to remove.
   * @throws AgentError BUNDLE_INVALID naming the member; FILE_UNREADABLE; DISK_FULL; what `expect` throws
   */
  extract(
    file: string,
    index: { readonly name: string; readonly maxBytes: number },
    expect: (text: string) => readonly (ArchiveFile & { readonly sizeBytes: number; readonly sha256: string })[],
    options?: { readonly signal?: AbortSignal; readonly onProgress?: (name: string, bytes: number, totalBytes: number) => void },
  ): Promise<void>;
}

/** Durable journal (SQLite). */
export interface JournalStore {
  /** What cannot be stored just now waits in memory, within bounds, and is stored when that is possible again. */
  append(event: import('./domain/journal.ts').NewJournalEvent & { readonly at: number }): import('./domain/journal.ts').JournalEvent;
  newest(limit: number, minimumLevel?: 'info' | 'warn' | 'error'): readonly import('./domain/journal.ts').JournalEvent[];
  /** Why entries wait in memory; null: all are stored. */
  problem(): string | null;
  close(): void;
}

/** Files that ship with the program: the simulator, the status page, the API reference, graphs, host keys. */
export interface Assets {
  text(name: string): Promise<string>;
  bytes(name: string): Promise<Uint8Array>;
  /** Directory on disk that holds the simulator's source. */
  simulator(): Promise<string>;
}

export interface MetricSample {
  readonly name: string;
  readonly help: string;
  readonly type: 'gauge' | 'counter';
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** Text exposition format of Prometheus. */
export interface Metrics {
  render(samples: readonly MetricSample[]): Promise<string>;
}

/** Everything outside, handed to the composition root. */
export interface Ports {
  readonly clock: Clock;
  readonly shell: Shell;
  readonly processes: Processes;
  readonly template: EntryTemplate;
  readonly kernel: Kernel;
  readonly hardware: Hardware;
  readonly kernelLog: KernelLog;
  readonly git: Git;
  readonly sources: Sources;
  readonly python: PythonEnvironments;
  readonly comfy: Comfy;
  readonly files: Files;
  readonly archives: Archives;
  readonly journal: JournalStore;
  readonly assets: Assets;
  readonly metrics: Metrics;
  readonly upkeep: Upkeep;
}
