/**
 * Every error a user can meet has a registered code. The registry is the single source for the exit code, the HTTP
 * status, whether a retry can help, and the standard remedy; `test/architecture` proves that each code raised in
 * the program is registered and each registered code is raised.
 */

/** Exit codes of the CLI (interface: "Exit codes"). */
export const ExitCode = {
  done: 0,
  failed: 1,
  usage: 2,
  unhealthy: 3,
  noAgent: 4,
  held: 5,
  timedOut: 6,
  interrupted: 130,
} as const;
export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode];

/** What each exit code means, for help and manual; in order. */
export const exitCodeMeanings: Readonly<Record<keyof typeof ExitCode, string>> = {
  done: 'done',
  failed: 'failed',
  usage: 'usage or configuration',
  unhealthy: 'not healthy',
  noAgent: 'no agent',
  held: 'held',
  timedOut: 'timed out',
  interrupted: 'interrupted',
};

export interface ErrorKind {
  /** What went wrong in general, one clause. */
  readonly meaning: string;
  /** The standard remedy; an error may carry a better one. */
  readonly help: string;
  readonly httpStatus: number;
  readonly exitCode: ExitCode;
  /** True when the same call may succeed later without anybody changing anything. */
  readonly retryable: boolean;
}

const kind = (meaning: string, help: string, httpStatus: number, exitCode: ExitCode, retryable = false): ErrorKind => ({
  meaning,
  help,
  httpStatus,
  exitCode,
  retryable,
});

export const errorRegistry = {
  USAGE: kind('the command line was not understood', 'run the command with --help', 400, 2),
  CONFIG_INVALID: kind('the configuration is not valid', 'correct the named key; `agent config check` shows all problems', 400, 2),
  CONFIG_NOT_FOUND: kind('the named configuration file does not exist', 'check --config and AGENT_CONFIG', 400, 2),
  CONFIG_NODES_INVALID: kind('config_nodes.json is not valid', 'correct the named entry', 400, 2),
  SNAPSHOT_INVALID: kind('the snapshot cannot be read', 'name a snapshot of ComfyUI-Manager or Comfy Desktop', 400, 2),
  PATHS_FILE_INVALID: kind('comfy_dir_config.yaml is not valid', 'correct the named line', 400, 2),
  STATIC_MODELS_INVALID: kind('static-models.json is not valid', 'correct the named entry', 400, 2),
  ROOT_NOT_WRITABLE: kind(
    'the root directory cannot be written',
    'create it for this user, or choose another with --root or AGENT_ROOT',
    500,
    1,
  ),
  ROOT_UNSUITABLE: kind('the root directory cannot hold an installation', 'choose a directory on a local disk with --root', 500, 1),
  ROOT_LOCKED: kind('another agent owns this root', 'use that agent (`agent status`), or stop it first', 409, 5, true),
  DISK_FULL: kind('the disk is full or nearly so', 'free space or move the root; `df -h` and `df -i` show what is full', 507, 1, true),
  FILE_UNREADABLE: kind('a file is there but cannot be read', 'check the owner and the permissions of the named path', 500, 1),
  INPUT_REFUSED: kind(
    'a file that ComfyUI or a node pack may have made is not a plain file, is too large, or leads elsewhere',
    'look at what is at that path; put a plain file in its place, or remove it',
    400,
    1,
  ),
  INPUT_UNTRUSTED: kind(
    'what is to be obeyed could have been written by the user that runs ComfyUI and node packs',
    'read it; if it is yours, give it to root with the named command, or have it where that user cannot write',
    409,
    5,
  ),
  AGENT_NOT_RUNNING: kind('no agent is running on this root', 'start it with `agent run` or `systemctl start comfylet`', 503, 4, true),
  LISTEN_FAILED: kind('the agent cannot listen on its address', 'choose another with --port or AGENT_PORT', 500, 1),
  PYTHON_MISSING: kind(
    'no usable python was found',
    'install Python 3.9 or newer (apt install python3), or name one with PYTHON or python.interpreter',
    500,
    1,
  ),
  UV_UNAVAILABLE: kind(
    'uv is not on this machine and could not be fetched',
    'install uv, or make the package index reachable',
    500,
    1,
    true,
  ),
  GIT_MISSING: kind('git was not found', 'install git (apt install git)', 500, 1),
  REPOSITORY_UNREACHABLE: kind('the git repository could not be reached', 'check the network and the URL', 502, 1, true),
  REPOSITORY_NOT_FOUND: kind('the git repository does not exist or access was refused', 'check the URL and the credentials', 502, 1),
  BRANCH_NOT_FOUND: kind('the repository has no such branch or tag', 'check the branch name', 400, 1),
  COMMIT_NOT_FOUND: kind('the repository has no such commit', 'check the commit; it must be reachable in the repository', 400, 1),
  SOURCE_REFUSED: kind(
    'a source is known to be harmful, or tries to reach where it must not',
    'remove it, or correct what is named',
    400,
    1,
  ),
  SOURCE_NOT_FOUND: kind('an archive, registry version or directory is not there', 'check the entry of the pack', 400, 1),
  SOURCE_UNREACHABLE: kind(
    'an archive or the registry could not be reached',
    'check the network, the URL, and packs.registryUrl',
    502,
    1,
    true,
  ),
  ARCHIVE_INVALID: kind('an archive cannot be unpacked', 'fetch it again, or have it packed anew as a plain zip file', 400, 1),
  DIGEST_DIFFERS: kind(
    'an archive is not the one that was named',
    'find out why it changed; then correct sha256 in config_nodes.json',
    400,
    1,
  ),
  REPOSITORY_DAMAGED: kind(
    'the git repository gave objects that do not belong to its commit',
    'check the server with `git fsck`; what it gave was thrown away',
    502,
    1,
    true,
  ),
  HOST_KEY_CHANGED: kind(
    'the SSH host key differs from the known one',
    'somebody may be intercepting; verify the new key and update ssh.knownHostsFile',
    502,
    1,
  ),
  HOST_KEY_UNKNOWN: kind('the SSH host is not known', 'add its key to the file named by ssh.knownHostsFile', 502, 1),
  SSH_KEY_INVALID: kind('the SSH key cannot be used', 'check SSH_KEY_FILE, or that all of CUT_PK_1..3 are set', 400, 2),
  SHARED_REPOSITORY_DIRTY: kind('the shared folder has local changes', 'commit, move or discard them; nothing was touched', 409, 5),
  SSH_FAILED: kind('a host cannot be reached by ssh', 'try `ssh HOST` by hand: it must work without a question', 502, 1, true),
  VOLUME_REFUSED: kind('a block volume cannot be used as it is', 'nothing was changed on it; name another with --device', 409, 1),
  NOT_COMFYUI: kind('the repository does not hold ComfyUI', 'check comfyui.repository and comfyui.branch', 400, 1),
  LOCK_INVALID: kind(
    'agent.lock.json cannot be used',
    'correct it, bring back an earlier one, or move it away: `agent install` then writes a new one',
    400,
    2,
  ),
  LOCK_DIFFERS: kind(
    'the lock and what it should match are not the same',
    'run `agent install` without --locked to bring the lock up to date, or correct the configuration',
    409,
    5,
  ),
  BUNDLE_INVALID: kind(
    'an offline bundle cannot be used',
    'nothing was changed; copy it again, or make a new one with `agent bundle create`',
    400,
    1,
  ),
  REQUIREMENTS_UNRESOLVED: kind(
    'the Python requirements cannot be met together',
    'see the lines named; override or constrain one of them',
    500,
    1,
  ),
  BINARY_INVALID: kind(
    'a file is not a program that could take the place of this one',
    'name the single file of comfylet for this machine, whole',
    400,
    1,
  ),
  SIGNATURE_INVALID: kind(
    'a program is not the one that its checksum or signature is for',
    'do not run it: get it again, and the checksum from another place than the file',
    400,
    1,
  ),
  STATE_TOO_NEW: kind(
    'the state on this machine was written by a newer agent',
    'run that one, or a newer: this one would lose what it cannot read',
    500,
    1,
  ),
  UPGRADE_FAILED: kind(
    'the new program did not do what the old one did, and the old one is back',
    'see `journalctl -u comfylet -n 50`; nothing else was changed',
    500,
    1,
  ),
  FOREIGN_LINK: kind(
    'another user put a link where the agent was to write or remove something',
    'find out who put it there, and remove it; the agent follows links of root and of its own user',
    500,
    1,
  ),
  UPGRADE_REFUSED: kind(
    'what root would act on in an upgrade is not of root, or is not what it should be',
    'find out who wrote there; programs, their directories and /var/lib/comfylet-upgrade belong to root, and nobody else may write to them',
    500,
    1,
  ),
  HASH_MISMATCH: kind(
    'a package is not the one that was locked',
    'the index or its mirror serves another file under that name: find out why; `agent update` locks what it serves now',
    502,
    1,
  ),
  ENVIRONMENT_FAILED: kind('the Python environment could not be built', 'see the installation log', 500, 1, true),
  VALIDATION_FAILED: kind(
    'the new release did not pass its trial start',
    'see the reason; the previous release stays in use',
    500,
    1,
    true,
  ),
  ROLLOUT_FAILED: kind(
    'an instance did not become ready on the new release',
    'see the reason and `agent releases`; the machine went back to the release before',
    500,
    1,
  ),
  RELEASE_UNUSABLE: kind('this release cannot be gone back to', '`agent releases` shows which are proved', 409, 1),
  PORT_HELD: kind(
    'a port is held by another process',
    'stop the named process, choose another port, or set ports.onConflict to next',
    409,
    5,
    true,
  ),
  GPU_QUERY_FAILED: kind('the GPUs could not be read', 'run nvidia-smi by hand; check the driver', 503, 1, true),
  GPU_MISSING: kind(
    'a card that has a slot is not there',
    'look at `dmesg | grep -i -e nvrm -e xid`, put the card back, or make the present cards the right ones with `agent gpus accept`',
    503,
    5,
    true,
  ),
  KERNEL_LOG_UNREADABLE: kind(
    'the kernel log cannot be read',
    'let the agent read /dev/kmsg (CAP_SYSLOG), or put its user into group systemd-journal; faults of cards (Xid) are not seen meanwhile',
    503,
    1,
    true,
  ),
  INSTANCE_NOT_FOUND: kind('there is no such GPU', '`agent gpus` lists them', 404, 2),
  INSTANCE_FAILED: kind('the instance did not become healthy', 'see `agent logs <gpu>` and the reason', 500, 1, true),
  PM2_UNAVAILABLE: kind(
    'the PM2 daemon does not answer',
    'see logs/pm2.log; `systemctl status comfylet-pm2` where it is a unit of its own',
    503,
    1,
    true,
  ),
  TEMPLATE_INVALID: kind('the PM2 template gave an invalid entry', 'correct the file named by pm2.template', 400, 2),
  OPERATION_NOT_FOUND: kind('there is no such operation', '`GET /v1/operations` lists them', 404, 1),
  HELD: kind('this cannot be done now', 'see the hold named', 409, 5, true),
  TIMED_OUT: kind('it took longer than allowed', 'raise the time limit or look at the reason', 504, 6, true),
  UNAUTHORIZED: kind(
    'a valid token is needed',
    'send `Authorization: Bearer <token>`; the token is set by AGENT_TOKEN or AGENT_TOKEN_FILE',
    401,
    1,
  ),
  FORBIDDEN: kind(
    'this account may not use the agent',
    'become a member of group comfylet (`sudo usermod -aG comfylet ACCOUNT`, then log in again), or use sudo',
    403,
    1,
  ),
  HOST_REFUSED: kind(
    'the Host header names a host this agent does not serve',
    'use its address, or add the name to api.allowedHosts',
    403,
    1,
  ),
  ORIGIN_REFUSED: kind('requests from this web origin are refused', 'add the origin to api.allowedOrigins', 403, 1),
  REQUEST_INVALID: kind('the request is not valid', 'see the API reference at /docs', 400, 2),
  NOT_FOUND: kind('there is nothing at this path', 'see the API reference at /docs', 404, 1),
  METHOD_NOT_ALLOWED: kind('this path does not take that method', 'see Allow in the answer, and the API reference at /docs', 405, 2),
  TOO_MANY_CONNECTIONS: kind('too many connections are open', 'close those that are not needed, and try again', 503, 1, true),
  TOO_MANY_STREAMS: kind('too many event streams are open', 'close one, or raise api.maxStreams', 503, 1, true),
  COMMAND_FAILED: kind('a command failed', 'see its last lines', 500, 1),
  ROOT_RIGHTS_NEEDED: kind('this needs root rights', 'run it with sudo', 403, 1),
  SYSTEMD_MISSING: kind(
    'this machine does not run systemd',
    'in a container make `tini -- agent run` its entry point; elsewhere start `agent run` by the init system at hand',
    500,
    1,
  ),
  SYSTEM_TOOL_MISSING: kind('a program of the system was not found', 'install its package', 500, 1),
  PREFIX_NOT_WRITABLE: kind('the program cannot be put in its place', 'choose another place with --prefix', 500, 1),
  IN_THE_WAY: kind('something else is where a file of the agent would go', 'move it away, or replace it with --yes', 409, 5),
  SUPERSEDED: kind('a later operation took its place', 'nothing to do, or run the command again to take back the later one', 409, 1),
  INTERRUPTED: kind('it was interrupted', 'run the command again to continue', 500, 130, true),
  INTERNAL: kind('the agent met a fault of its own', 'please report it with `agent logs --export`', 500, 1),
} as const satisfies Record<string, ErrorKind>;

export type ErrorCode = keyof typeof errorRegistry;
