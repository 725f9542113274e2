import type { LockedPackage } from '../domain/installation/lock.ts';

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
  /**
   * Requirement files by label, which names the pack in messages. Nothing outside `within` is read or named to uv, which is given a
   * text of our own; `trusted`: it is the operator's, and names what it likes.
   */
  readonly requirements: readonly { readonly label: string; readonly file: string; readonly within: string; readonly trusted?: boolean }[];
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
