/**
 * How git's ssh behaves: one configuration file of our own (`ssh -F`), so that neither the user's ~/.ssh nor an agent
 * nor a known_hosts file of this machine has a say. Strict host keys, one key, no questions.
 */
import { randomUUID } from 'node:crypto';
import { mkdir, open, readFile, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { checkSshKey } from '../../domain/configuration/ssh-key.ts';
import { AgentError } from '../../domain/errors/errors.ts';

export interface SshOptions {
  /** Private key file; ssh's own rules on its mode hold. */
  readonly keyFile?: string | null;
  /** Private key as text (CUT_PK_1..3 decoded). A key file wins. */
  readonly keyText?: string | null;
  /** Lines of the shipped known_hosts (assets/known_hosts). */
  readonly knownHosts: string;
  /** Further host keys; read again for every call, so that an added key helps at once. */
  readonly knownHostsFile?: string | null;
}

interface SshFiles {
  readonly configFile: string;
  /** Why no key is given to ssh, though one is configured: to be raised when the remote needs ssh. */
  readonly problem: AgentError | null;
}

export interface SshSetup {
  /** Writes what is new or changed. @throws AgentError DISK_FULL, ROOT_NOT_WRITABLE */
  prepare(): Promise<SshFiles>;
  /** Removes the written key. */
  close(): Promise<void>;
}

const connectTimeoutSeconds = 20;

/** @param directory own directory below the state directory, made 0700 */
export function createSshSetup(directory: string, options: SshOptions): SshSetup {
  const configFile = join(directory, 'ssh_config');
  const knownHostsFile = join(directory, 'known_hosts');
  const writtenKey = join(directory, 'key');
  const written = new Map<string, string>();

  const write = async (path: string, content: string): Promise<void> => {
    if (written.get(path) === content && (await exists(path))) return;
    await writePrivate(path, content);
    written.set(path, content);
  };

  const key = async (): Promise<string | null> => {
    if (options.keyFile != null) {
      await checkKeyFile(options.keyFile);
      return options.keyFile;
    }
    if (options.keyText == null) return null;
    await write(writtenKey, checkSshKey(options.keyText, 'CUT_PK_1..3'));
    return writtenKey;
  };

  const prepare = async (): Promise<SshFiles> => {
    await mkdir(dirname(directory), { recursive: true });
    await mkdir(directory, { recursive: true, mode: 0o700 });
    let problem: AgentError | null = null;
    let identity: string | null = null;
    try {
      identity = await key();
    } catch (error) {
      if (!(error instanceof AgentError)) throw error;
      problem = error;
    }
    let further = '';
    if (options.knownHostsFile != null) {
      further = await readFile(options.knownHostsFile, 'utf8').catch((error: NodeJS.ErrnoException) => {
        problem ??= new AgentError(
          'HOST_KEY_UNKNOWN',
          `the known hosts file ${options.knownHostsFile} cannot be read (${error.code ?? error.message})`,
          {
            help: 'correct ssh.knownHostsFile, or remove it',
          },
        );
        return '';
      });
    }
    await write(knownHostsFile, `${options.knownHosts.trimEnd()}\n${further.trimEnd()}\n`);
    try {
      await write(configFile, sshConfig(knownHostsFile, identity));
    } catch (error) {
      if (!(error instanceof AgentError)) throw error;
      problem ??= error;
    }
    return { configFile, problem };
  };

  return {
    prepare,
    close: async () => {
      written.clear();
      await rm(writtenKey, { force: true });
    },
  };
}

/** The ssh_config for git. */
export function sshConfig(knownHostsFile: string, identity: string | null): string {
  const lines = [
    'BatchMode yes',
    'StrictHostKeyChecking yes',
    `UserKnownHostsFile ${quoted(knownHostsFile)}`,
    'GlobalKnownHostsFile /dev/null',
    'UpdateHostKeys no',
    'VerifyHostKeyDNS no',
    'CheckHostIP no',
    'IdentitiesOnly yes',
    'IdentityAgent none',
    `IdentityFile ${identity === null ? 'none' : quoted(identity)}`,
    'PreferredAuthentications publickey',
    'PasswordAuthentication no',
    'KbdInteractiveAuthentication no',
    `ConnectTimeout ${connectTimeoutSeconds}`,
    'ConnectionAttempts 1',
    'ServerAliveInterval 15',
    'ServerAliveCountMax 4',
    'ControlMaster no',
    'ControlPath none',
    'ForwardAgent no',
    'ForwardX11 no',
    'PermitLocalCommand no',
    'CanonicalizeHostname no',
    'LogLevel ERROR',
  ];
  return `${['Host *', ...lines.map((line) => `  ${line}`)].join('\n')}\n`;
}

/** ssh_config has no way to write some characters in a path that all versions of ssh understand. */
function quoted(path: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
  if (/["%$\\\u0000-\u001f]/.test(path) || !path.startsWith('/')) {
    throw new AgentError('SSH_KEY_INVALID', `ssh cannot be given the path ${JSON.stringify(path)}`, {
      help: 'use an absolute path without quotes, %, $ or backslashes',
    });
  }
  return `"${path}"`;
}

async function checkKeyFile(path: string): Promise<void> {
  quoted(path);
  let mode: number;
  let text: string;
  try {
    const file = await open(path, 'r');
    try {
      const facts = await file.stat();
      if (!facts.isFile() || facts.size > 64 * 1024) throw new AgentError('SSH_KEY_INVALID', `${path} is no SSH key file`);
      // ssh looks at the mode only of files that belong to the user who runs it.
      mode = facts.uid === process.getuid?.() ? facts.mode & 0o777 : 0;
      text = await file.readFile('utf8');
    } finally {
      await file.close();
    }
  } catch (error) {
    if (error instanceof AgentError) throw error;
    const code = (error as NodeJS.ErrnoException).code;
    throw new AgentError(
      'SSH_KEY_INVALID',
      `the SSH key file ${path} ${code === 'ENOENT' ? 'does not exist' : `cannot be read (${code})`}`,
    );
  }
  if ((mode & 0o077) !== 0) {
    throw new AgentError(
      'SSH_KEY_INVALID',
      `the SSH key file ${path} may be read by others (mode ${mode.toString(8).padStart(4, '0')}), so ssh refuses it`,
      { help: `chmod 600 ${path}` },
    );
  }
  const key = checkSshKey(text, path);
  if (text.includes('\r'))
    throw new AgentError('SSH_KEY_INVALID', `the SSH key file ${path} has Windows line ends, which ssh refuses`, {
      help: `sed -i 's/\\r$//' ${path}`,
    });
  if (!text.endsWith('\n') && key.startsWith('-----BEGIN OPENSSH'))
    throw new AgentError('SSH_KEY_INVALID', `the SSH key file ${path} lacks the line end after its last line`, { help: `echo >> ${path}` });
}

const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );

/** 0600 from the first moment, complete or not there. */
export async function writePrivate(path: string, content: string): Promise<void> {
  const temporary = `${path}.${randomUUID()}`;
  try {
    const file = await open(temporary, 'wx', 0o600);
    try {
      await file.writeFile(content);
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}
