import type { AgentError } from '../domain/errors/errors.ts';
import { ExitCode } from '../domain/errors/registry.ts';
import type { Context } from './context.ts';
import { clean } from './render/text.ts';

/** `error[CODE]: what happened`, then `help: what to do`, on stderr; with --json the error document on stdout. */
export async function reportError(context: Context, error: AgentError): Promise<ExitCode> {
  const { json, errorStyle: style } = context;
  const { code, message, help, retryable, details, exitCode } = error;
  if (json) {
    context.printJson({ error: { code, message, help, retryable, details } });
    return exitCode;
  }
  context.warn(`${style.paint(exitCode === ExitCode.interrupted ? 'warn' : 'bad', `error[${code}]:`)} ${clean(message)}`);
  // The first problem is the message; the others belong to it.
  const problems = Array.isArray(details['problems']) ? details['problems'].filter((each) => typeof each === 'string') : [];
  for (const problem of problems.length > 1 ? problems.slice(1) : []) context.warn(`  also: ${clean(problem)}`);
  if (details['conflicts'] !== undefined) {
    const { conflictsIn, conflictTable } = await import('../domain/installation/requirement-conflict.ts');
    for (const line of conflictTable(conflictsIn(details))) context.warn(`  ${clean(line)}`);
  }
  context.warn(`${style.paint('info', 'help:')} ${clean(help)}`);
  if (context.verbose && error.cause instanceof Error) context.warn(style.paint('dim', error.cause.stack ?? error.cause.message));
  if (context.verbose && code === 'INTERNAL' && error.stack !== undefined) context.warn(style.paint('dim', error.stack));
  return exitCode;
}
