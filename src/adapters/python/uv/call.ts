import type { Files } from '../../../ports/files.ts';
import type { Logger } from '../../../ports/logs.ts';
import type { PythonIndexes } from '../../../ports/python.ts';
import type { Shell } from '../../../ports/shell.ts';
import type { Downloader } from '../../sources/download.ts';

export interface UvOptions {
  readonly shell: Shell;
  readonly files: Files;
  readonly downloader: Downloader;
  readonly cacheDirectory: string;
  readonly environment: Readonly<Record<string, string>>;
  readonly log: Logger;
}

export interface UvCall {
  readonly indexes: PythonIndexes;
  /** Used to run pip when uv must be fetched. */
  readonly interpreter: string;
  readonly cwd: string;
  readonly timeoutMs: number;
  readonly allowPythonDownloads?: boolean;
  readonly signal?: AbortSignal;
  readonly onLine?: (line: string) => void;
}
