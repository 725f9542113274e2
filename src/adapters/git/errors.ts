/** What git and ssh print when they fail, as registered errors in the user's terms. Pure; texts are those of LANG=C. */

import { AgentError, type AgentErrorOptions } from '../../domain/errors/errors.ts';
import type { ErrorCode } from '../../domain/errors/registry.ts';
import { redactGitText, redactUrl } from '../../domain/installation/git-url.ts';

export interface GitFailure {
  readonly stderr: string;
  readonly exitCode: number | null;
  /** What was being done, "fetching": for the failure that no rule knows. */
  readonly doing: string;
  /** As configured; shown redacted. null for work that is local. */
  readonly url: string | null;
  /** What was named, when `url` stands for it. */
  readonly insteadOf?: string | null;
  /** Never to be shown, wherever they stand. */
  readonly secrets?: readonly string[];
}

interface Rule {
  readonly pattern: RegExp;
  readonly code: ErrorCode;
  readonly says: (repository: string, line: string) => string;
  readonly options?: AgentErrorOptions;
}

const unreachable = (pattern: RegExp, says: Rule['says'], options?: AgentErrorOptions): Rule => ({
  pattern,
  code: 'REPOSITORY_UNREACHABLE',
  says,
  ...(options ? { options } : {}),
});
const notFound = (pattern: RegExp, says: Rule['says'], help?: string): Rule => ({
  pattern,
  code: 'REPOSITORY_NOT_FOUND',
  says,
  ...(help ? { options: { help } } : {}),
});

// The first match wins: causes that explain the others stand first, git's closing remarks last.
const rules: readonly Rule[] = [
  {
    pattern: /No space left on device|Disk quota exceeded/i,
    code: 'DISK_FULL',
    says: (repository) => `no space left on the disk while working on ${repository}`,
  },
  {
    pattern: /REMOTE HOST IDENTIFICATION HAS CHANGED|Host key for \S{1,300} has changed|host key .{0,300} has changed/i,
    code: 'HOST_KEY_CHANGED',
    says: (repository) => `the SSH host key of ${repository} is not the known one`,
  },
  {
    pattern: /No \S+ host key is known for|Host key verification failed|is not cached/i,
    code: 'HOST_KEY_UNKNOWN',
    says: (repository) => `the SSH host of ${repository} is not known`,
  },
  {
    pattern: /UNPROTECTED PRIVATE KEY FILE|bad permissions/i,
    code: 'SSH_KEY_INVALID',
    says: () => 'the SSH key file may be read by others',
    options: { help: 'chmod 600 the file named by SSH_KEY_FILE' },
  },
  {
    pattern: /Load key .{0,300}:|invalid format|error in libcrypto|no such identity/i,
    code: 'SSH_KEY_INVALID',
    says: (_, line) => `ssh cannot use the key: ${line}`,
  },
  {
    pattern: /cannot run ssh|ssh: (command )?not found|exec: ssh/i,
    code: 'GIT_MISSING',
    says: (repository) => `the ssh program that ${repository} needs was not found`,
    options: { help: 'install openssh-client' },
  },
  { pattern: /spawn \S+ (ENOENT|EACCES)/, code: 'GIT_MISSING', says: () => 'the git program was not found' },
  {
    pattern: /invalid value for \W*submodule\./i,
    code: 'SOURCE_REFUSED',
    says: (repository, line) => `${repository} has a .gitmodules that git refuses: ${line}`,
  },
  notFound(
    /remote helper|transport '\w+' not allowed|remote-\w+' is not a git command/i,
    (repository, line) => `${repository} needs a transport that is not allowed: ${line}`,
    'use https or ssh, also in .gitmodules',
  ),
  {
    pattern:
      /but it did not contain|not our ref|unadvertised object|couldn't find remote ref [0-9a-f]{40}|bad object|not a tree|not a valid object name|reference is not a tree|Unable to find [0-9a-f]{40} under|Cannot obtain needed (?:object|commit|tree|blob)/i,
    code: 'COMMIT_NOT_FOUND',
    says: (repository, line) => `${repository} has no such commit: ${line}`,
  },
  {
    // Also a damaged mirror: the caller makes it anew first.
    pattern: /unable to read tree|hash mismatch/i,
    code: 'REPOSITORY_DAMAGED',
    says: (repository, line) => `${repository} does not give what its commit is made of: ${line}`,
  },
  {
    pattern: /couldn't find remote ref|Remote branch .{0,300} not found/i,
    code: 'BRANCH_NOT_FOUND',
    says: (repository, line) => `${repository} has no such branch: ${line}`,
  },
  unreachable(/error: (429|5\d\d)|rate limit|too many requests/i, (repository, line) => `${repository} could not be read now: ${line}`),
  notFound(
    /Permission denied \((publickey|.*publickey)/i,
    (repository) => `${repository} refused the SSH key, or no key was given`,
    'check SSH_KEY_FILE or CUT_PK_1..3, and that the key may read the repository',
  ),
  notFound(
    /Authentication failed|could not read (Username|Password)|terminal prompts disabled|Invalid username or (password|token)|Access denied|error: 40[13]|Permission (to .* )?denied/i,
    (repository) => `${repository} does not exist, or it is private and access was refused`,
  ),
  notFound(
    /repository not exported|Repository .{0,300}not found|does not appear to be a git repository|does not exist|error: 404|could not be found|run git update-server-info|no such (file or directory|repository)/i,
    (repository) => `there is no git repository at ${repository}`,
  ),
  unreachable(
    /could not resolve|unable to look up|name or service not known|temporary failure in name resolution|nodename nor servname/i,
    (repository, line) => `the host of ${repository} could not be found: ${line}`,
  ),
  unreachable(
    /certificate.{0,300}CAfile: none/i,
    (repository) => `no trusted connection to ${repository}: this machine has no certificates of authorities`,
    {
      retryable: false,
      help: 'install ca-certificates (apt install ca-certificates), or name a file with SSL_CERT_FILE',
    },
  ),
  unreachable(/certificate/i, (repository, line) => `no trusted connection to ${repository}: ${line}`, {
    retryable: false,
    help: 'check the clock and the certificates of this machine, or set SSL_CERT_FILE',
  }),
  unreachable(
    /refused|timed out|timeout|unreachable|no route to host|unable to connect|failed to connect|couldn't connect/i,
    (repository, line) => `${repository} could not be reached: ${line}`,
  ),
  unreachable(
    /SSL|TLS|handshake|reset by peer|connection closed|kex_exchange|early EOF|hung up|unexpected disconnect|RPC failed|empty reply|transfer closed|broken pipe|could not read from remote repository|unable to access/i,
    (repository, line) => `the connection to ${repository} broke: ${line}`,
  ),
];

// Left by a git that was cut off, or by a disk fault: the mirror is a cache and is made anew.
const damage =
  /not a git repository|\.lock': File exists|cannot lock ref|object file .{0,300} is empty|loose object|packfile .{0,300} (is|cannot|does not)|inflate|invalid sha1 pointer|bad (config|signature|index file)|unable to read (tree|sha1 file)|missing (blob|tree|commit)|hash mismatch|pack has \d+ unresolved|did not send all necessary|error in object|object .{0,300} cannot be read|corrupt/i;

/** The error for a failed git command. `details.damaged` is true when local objects or files of git are broken. */
export function gitError(failure: GitFailure): AgentError {
  const secrets = failure.secrets ?? [];
  const text = redactGitText(failure.stderr, secrets);
  const lines = text
    .split(/[\r\n]+/)
    .map((line) => line.trim())
    .filter((line) => line !== '' && !isProgress(line));
  const repository =
    failure.url === null
      ? 'the repository'
      : `${redactUrl(failure.url)}${failure.insteadOf == null ? '' : ` (install.gitMirror for ${redactUrl(failure.insteadOf)})`}`;
  const tail = lines.slice(-12);

  const broken = lines.find((line) => damage.test(line) && !line.startsWith('remote:') && !/does not appear to be/.test(line));
  const matched = rules
    .map((rule) => ({ rule, line: lines.find((line) => rule.pattern.test(line)) }))
    .find(({ line }) => line !== undefined);
  const damaged = broken !== undefined && !['DISK_FULL', 'GIT_MISSING', 'REPOSITORY_UNREACHABLE'].includes(matched?.rule.code ?? '');
  const details = {
    exitCode: failure.exitCode,
    tail,
    ...(damaged ? { damaged } : {}),
    ...(failure.url === null ? {} : { url: redactUrl(failure.url) }),
  };
  if (matched?.line === undefined || (damaged && matched.rule.code === 'COMMIT_NOT_FOUND')) {
    const cause =
      broken ??
      lines.find((line) => /^(fatal|error):/.test(line)) ??
      lines.at(-1) ??
      (failure.exitCode === null ? 'git was ended by a signal' : `git exited with ${failure.exitCode}`);
    return new AgentError('COMMAND_FAILED', `git failed while ${failure.doing} ${repository}: ${cause}`, { details });
  }
  const { rule, line } = matched;
  const cause = (line ?? '').replace(/^(fatal|error|ERROR|ssh|remote): /, '').replace(/(?<![.\s])[.\s]+$/, '');
  return new AgentError(rule.code, rule.says(repository, cause), { ...rule.options, details });
}

/** Whether making the mirror anew may help. */
export const isDamage = (error: unknown): boolean => error instanceof AgentError && error.details['damaged'] === true;

function isProgress(line: string): boolean {
  return /^(remote: )?[A-Z][\w ]+:\s+\d+% \(/.test(line) || /^(remote: )?(Enumerating|Total|Cloning into)/.test(line);
}
