import { type ErrorCode, type ExitCode, errorRegistry } from './registry.ts';

export interface AgentErrorOptions {
  /** What to do now, when the standard remedy can be bettered. */
  readonly help?: string;
  /** Facts for machines; never secrets. */
  readonly details?: Readonly<Record<string, unknown>>;
  readonly retryable?: boolean;
  readonly cause?: unknown;
}

/** The one error class that crosses rooms. `message` says what happened, in words of the user's world. */
export class AgentError extends Error {
  override readonly name = 'AgentError';
  /** Each of the two parts that the program is built into has this class; an error of one is known in the other. */
  static override [Symbol.hasInstance](value: unknown): value is AgentError {
    return value instanceof Error && value.name === 'AgentError';
  }

  readonly code: ErrorCode;
  readonly help: string;
  readonly retryable: boolean;
  readonly details: Readonly<Record<string, unknown>>;

  constructor(code: ErrorCode, message: string, options: AgentErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    const registered = errorRegistry[code];
    this.code = code;
    this.help = options.help ?? registered.help;
    this.retryable = options.retryable ?? registered.retryable;
    this.details = options.details ?? {};
  }

  get httpStatus(): number {
    return errorRegistry[this.code].httpStatus;
  }

  get exitCode(): ExitCode {
    return errorRegistry[this.code].exitCode;
  }
}

export const isAgentError = (error: unknown): error is AgentError => error instanceof AgentError;

/** Anything thrown, as an AgentError: a foreign error becomes INTERNAL and keeps its message and cause. */
export function asAgentError(error: unknown): AgentError {
  if (isAgentError(error)) return error;
  const message = error instanceof Error ? error.message : String(error);
  const code = (error as NodeJS.ErrnoException | undefined)?.code;
  if (code === 'ENOSPC' || code === 'EDQUOT') return new AgentError('DISK_FULL', message, { cause: error });
  if (error instanceof Error && error.name === 'AbortError') return new AgentError('INTERRUPTED', message, { cause: error });
  return new AgentError('INTERNAL', message, { cause: error });
}
