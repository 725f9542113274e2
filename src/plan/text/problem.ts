import { AgentError } from '../../domain/errors/errors.ts';
import type { ErrorCode } from '../../domain/errors/registry.ts';

/** One thing wrong (or odd) in a file that people write: where it stands, what it is about, and what to write instead. */
export interface TextProblem {
  /** The file. */
  readonly path: string;
  /** From 1; null when it concerns the whole file. */
  readonly line: number | null;
  readonly column: number | null;
  /** The pack, section or entry: "pack ComfyUI-Manager". */
  readonly subject: string | null;
  readonly message: string;
  readonly fix: string | null;
}

/** `config_nodes.json:12: pack X: what is wrong; what to write instead`, one line. */
export function describeProblem({ path, line, column, subject, message, fix }: TextProblem): string {
  const place = [path, line, line === null ? null : column].filter((part) => part !== null).join(':');
  return [place, subject, fix === null ? message : `${message}; ${fix}`].filter((part) => part !== null).join(': ');
}

/** Collects the problems of one file. */
export interface ProblemList {
  readonly problems: TextProblem[];
  readonly warnings: TextProblem[];
  problem(line: number | null, subject: string | null, message: string, fix?: string): void;
  warning(line: number | null, subject: string | null, message: string, fix?: string): void;
}

export function problemList(path: string): ProblemList {
  const problems: TextProblem[] = [];
  const warnings: TextProblem[] = [];
  const entry = (line: number | null, subject: string | null, message: string, fix?: string): TextProblem => ({
    path,
    line,
    column: null,
    subject,
    message,
    fix: fix ?? null,
  });
  return {
    problems,
    warnings,
    problem: (line, subject, message, fix) => problems.push(entry(line, subject, message, fix)),
    warning: (line, subject, message, fix) => warnings.push(entry(line, subject, message, fix)),
  };
}

/** All problems as one error: the first one is the message, the rest is counted there and listed in the details. */
export function problemsError(code: ErrorCode, problems: readonly TextProblem[]): AgentError {
  const [first] = problems;
  const lines = problems.map(describeProblem);
  const more = problems.length > 1 ? ` (first of ${problems.length} problems)` : '';
  const message = first === undefined ? 'it is not valid' : `${describeProblem({ ...first, fix: null })}${more}`;
  return new AgentError(code, message, { ...(first?.fix ? { help: first.fix } : {}), details: { problems: lines } });
}

/** A value as it may stand in a message: short, on one line. */
export function shown(value: unknown): string {
  if (value === undefined) return 'nothing';
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 57)}…` : text;
}
