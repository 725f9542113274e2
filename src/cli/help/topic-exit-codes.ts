import { type ErrorCode, ExitCode, errorRegistry, exitCodeMeanings } from '../../domain/errors/registry.ts';
import type { Topic } from './topic.ts';

/** More than the one word in `--help`. */
const DETAILS: Readonly<Record<keyof typeof ExitCode, string>> = {
  done: 'what was asked for is so; `status` and `health`: it serves',
  failed: 'it was tried and did not work; the error tells why and what to do',
  usage: 'the command line or the configuration is wrong; nothing was tried',
  unhealthy: '`status` and `health` only: it does not serve',
  noAgent: 'no agent runs on this root, or it went away meanwhile',
  held: 'it cannot be done now, and the hold is printed: another work runs, another agent owns the root, a port is taken',
  timedOut: 'not done within --timeout; the work itself goes on in the agent',
  interrupted: 'Ctrl-C: detached; what was begun goes on in the agent, and the same command attaches again',
};

export const exitCodes: Topic = {
  name: 'exit-codes',
  about: 'what the status of a command means, and the error codes behind it',
  lines: () => [
    ...Object.entries(ExitCode).flatMap(([name, code]) => {
      const key = name as keyof typeof ExitCode;
      const codes = codesWith(code).join(' ');
      return [`${String(code).padStart(5)}  ${exitCodeMeanings[key]}: ${DETAILS[key]}`, ...(codes === '' ? [] : [`         ${codes}`])];
    }),
    '',
    'An error is two lines on stderr, `error[CODE]: what happened` and `help: what to do`; with --json it is',
    '{"error":{"code","message","help","retryable","details"}} on stdout. `agent help CODE` explains a code.',
  ],
};

const codesWith = (exitCode: number): ErrorCode[] =>
  (Object.keys(errorRegistry) as ErrorCode[]).filter((code) => errorRegistry[code].exitCode === exitCode);

/** What an error code means and what helps; null for what is no code. `port-held` is PORT_HELD. */
export function errorCodeLines(name: string): readonly string[] | null {
  const code = name.toUpperCase().replaceAll('-', '_');
  if (!Object.hasOwn(errorRegistry, code)) return null;
  const { meaning, help, exitCode, httpStatus, retryable } = errorRegistry[code as ErrorCode];
  return [
    `${code}: ${meaning}`,
    '',
    `  what to do   ${help}`,
    `  exit code    ${exitCode} (${exitCodeMeanings[nameOf(exitCode)]})`,
    `  HTTP status  ${httpStatus}`,
    `  again        ${retryable ? 'the same call may succeed later without anybody changing anything' : 'not before something was changed'}`,
    '',
    'The error itself may carry a better remedy than this one: read its `help:` line first.',
  ];
}

const nameOf = (exitCode: number): keyof typeof ExitCode =>
  (Object.keys(ExitCode) as (keyof typeof ExitCode)[]).find((name) => ExitCode[name] === exitCode) ?? 'failed';
