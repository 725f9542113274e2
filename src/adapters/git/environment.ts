/**
 * The whole environment of every git call. Nothing of the user's or the machine's configuration reaches git: same
 * configuration of the agent, same result, and no prompt, hook or helper that somebody once set up.
 */
import type { GitUrl } from '../../domain/installation/git-url.ts';

/** What the machine may have to say about reaching the network and trusting certificates. */
const passed = [
  'PATH',
  'TMPDIR',
  'http_proxy',
  'https_proxy',
  'HTTPS_PROXY',
  'all_proxy',
  'ALL_PROXY',
  'no_proxy',
  'NO_PROXY',
  'SSL_CERT_FILE',
  'SSL_CERT_DIR',
  'CURL_CA_BUNDLE',
  'GIT_SSL_CAINFO',
  'GIT_SSL_CAPATH',
] as const;

/** Command scope: wins over what stands in the repository's own configuration, and reaches submodules. */
const configuration: readonly (readonly [string, string])[] = [
  ['core.hooksPath', '/dev/null'],
  ['core.fsmonitor', 'false'],
  ['core.autocrlf', 'false'],
  // An empty helper clears the list of helpers.
  ['credential.helper', ''],
  ['gc.auto', '0'],
  ['maintenance.auto', 'false'],
  ['fetch.recurseSubmodules', 'false'],
  ['submodule.recurse', 'false'],
  // Each fetch stays one pack: work trees then share it by a hard link.
  ['fetch.unpackLimit', '1'],
  ['protocol.version', '2'],
  ['advice.detachedHead', 'false'],
  ['init.defaultBranch', 'main'],
  // transfer.fsckObjects stays off: it refuses the flawed dates and modes of old but honest histories, while
  // dangerous paths, submodule names and URLs are refused by git where they are used.
];

export interface GitEnvironmentFiles {
  /** Empty directory. */
  readonly home: string;
  /** Holds only what git takes from no other scope (safe.directory). */
  readonly globalConfig: string;
  readonly sshConfig: string;
}

export interface GitCallContext {
  readonly cwd: string;
  /** Remote of this call; its credentials travel in the environment, for its host only. */
  readonly remote?: GitUrl;
  /** A call of git-lfs: the repository as named. */
  readonly lfsOf?: GitUrl;
  /** Names this call's processes. */
  readonly marker: string;
  /** Where the repository of `cwd` is, when it is not in it. */
  readonly repository?: string;
}

export const markerName = 'COMFYLET_GIT_CALL';

/** Builds the environment of one call. */
export function gitEnvironment(
  inherited: Readonly<Record<string, string>>,
  files: GitEnvironmentFiles,
  call: GitCallContext,
): Record<string, string> {
  const environment: Record<string, string> = {
    PATH: '/usr/local/bin:/usr/bin:/bin',
    HOME: files.home,
    LANG: 'C',
    LC_ALL: 'C',
    GIT_TERMINAL_PROMPT: '0',
    // Empty means none; unset would let git look further.
    GIT_ASKPASS: '',
    SSH_ASKPASS: '',
    SSH_ASKPASS_REQUIRE: 'never',
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_ATTR_NOSYSTEM: '1',
    GIT_CONFIG_GLOBAL: files.globalConfig,
    // No sample hooks in every repository.
    GIT_TEMPLATE_DIR: '',
    GIT_LFS_SKIP_SMUDGE: '1',
    GIT_OPTIONAL_LOCKS: '0',
    // Never take a repository further up for the one that was meant.
    GIT_CEILING_DIRECTORIES: call.cwd.replace(/\/[^/]*\/?$/, '') || '/',
    GIT_ALLOW_PROTOCOL: allowedProtocols(call.remote),
    // git hands this to a shell: a constant text, the path comes from the environment.
    GIT_SSH_COMMAND: 'ssh -F "$COMFYLET_SSH_CONFIG"',
    GIT_SSH_VARIANT: 'ssh',
    COMFYLET_SSH_CONFIG: files.sshConfig,
    [markerName]: call.marker,
  };
  for (const name of passed) {
    const value = inherited[name];
    if (value !== undefined && value !== '') environment[name] = value;
  }
  const { credentials, scope } = call.remote ?? {};
  if (credentials != null) {
    environment['COMFYLET_GIT_USER'] = credentials.user;
    environment['COMFYLET_GIT_PASSWORD'] = credentials.password;
  }
  if (call.repository !== undefined) {
    environment['GIT_DIR'] = call.repository;
    environment['GIT_WORK_TREE'] = call.cwd;
  }
  const entries = [
    ...configuration,
    ...(credentials != null && scope != null ? [[`credential.${scope}.helper`, credentialHelper] as const] : []),
    ...lfsConfiguration(call),
  ];
  environment['GIT_CONFIG_COUNT'] = String(entries.length);
  entries.forEach(([key, value], index) => {
    environment[`GIT_CONFIG_KEY_${index}`] = key;
    environment[`GIT_CONFIG_VALUE_${index}`] = value;
  });
  return environment;
}

/**
 * Asked by git when the server of that very scope wants to know who comes: after a redirect to another host it is not
 * asked, while a header of our own would be sent along. A constant text for a shell; the values come from the environment.
 */
const credentialHelper =
  '!f() { test "$1" = get || exit 0; printf "username=%s\\npassword=%s\\n" "$COMFYLET_GIT_USER" "$COMFYLET_GIT_PASSWORD"; }; f';

/** What one call may use: the transport of its remote; the disk when it has none or a local one. */
function allowedProtocols(remote: GitUrl | undefined): string {
  if (remote === undefined || remote.transport === 'local') return 'file';
  return remote.transport === 'http' ? (/^https:/i.test(remote.url) ? 'https' : 'http:https') : remote.transport;
}

/** .lfsconfig of a repository has no say in the server that git-lfs asks. */
function lfsConfiguration({ lfsOf, remote }: GitCallContext): readonly (readonly [string, string])[] {
  if (lfsOf === undefined || remote === undefined) return [];
  const server = `${remote.url.replace(/(?<!\/)\/+$/, '').replace(/(\.git)?$/, '.git')}/info/lfs`;
  return [
    ...(remote.transport === 'http' ? [['lfs.url', server] as const] : []),
    ...(remote.url === lfsOf.url ? [] : [[`url.${remote.url}.insteadOf`, lfsOf.url] as const]),
  ];
}

/** The texts that must not be shown of a remote's credentials. */
export function secretsOf(remote: GitUrl | undefined): readonly string[] {
  if (remote?.credentials == null) return [];
  const { user, password } = remote.credentials;
  // A user name alone is a token; beside a password it may be a plain word.
  return [
    password,
    encodeURIComponent(password),
    ...(password === '' ? [user, encodeURIComponent(user)] : []),
    Buffer.from(`${user}:${password}`, 'utf8').toString('base64'),
  ];
}
