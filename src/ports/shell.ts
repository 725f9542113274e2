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
