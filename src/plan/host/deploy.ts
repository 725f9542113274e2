import { SYSTEM_FILE, SYSTEM_SECRETS } from '../../domain/configuration/access.ts';
import { AgentError } from '../../domain/errors/errors.ts';
import { type ErrorCode, errorRegistry } from '../../domain/errors/registry.ts';
import { ADDED_BY_SETUP } from './configuration.ts';

/** Words for ssh, and what it says. */

const HOST = /^(?:ssh:\/\/)?[A-Za-z0-9_][\w.@:%+[\]-]*$/;

/** @throws AgentError USAGE for what ssh could take for an option, or no host has for a name */
export function checkHosts(hosts: readonly string[]): readonly string[] {
  const odd = hosts.find((host) => !HOST.test(host));
  if (odd !== undefined) throw new AgentError('USAGE', `"${odd}" is no host`, { help: 'write user@host, or a name of ~/.ssh/config' });
  return [...new Set(hosts)];
}

/** Host keys are never taken on trust, and nothing is asked: nobody sits at the terminals of twenty hosts. */
export const sshArguments = (host: string, sshConfig: string | null, command: string): string[] => [
  ...(sshConfig === null ? [] : ['-F', sshConfig]),
  ...['-T', '-o', 'BatchMode=yes', '-o', 'StrictHostKeyChecking=yes', '-o', 'ConnectTimeout=15', '-o', 'ConnectionAttempts=1'],
  ...['-o', 'ServerAliveInterval=15', '-o', 'ServerAliveCountMax=4', '-o', 'ClearAllForwardings=yes'],
  ...['--', host, command],
];

/** Why ssh itself failed (exit code 255). */
export function sshError(host: string, tail: string): AgentError {
  const last = tail.trim().split('\n').at(-1)?.trim() ?? '';
  if (/REMOTE HOST IDENTIFICATION HAS CHANGED/.test(tail))
    return new AgentError('HOST_KEY_CHANGED', `the host key of ${host} is not the known one; nothing was sent`, {
      help: `somebody may be intercepting. Ask whoever runs ${host} for its new key; only then \`ssh-keygen -R\` the old one and connect once by hand`,
    });
  if (/Host key verification failed|No .{0,300} host key is known/i.test(tail))
    return new AgentError('HOST_KEY_UNKNOWN', `the host key of ${host} is not known; nothing was sent`, {
      help: `connect once by hand (\`ssh ${host}\`) and compare the fingerprint with the one the provider shows`,
    });
  if (/Permission denied/.test(tail))
    return new AgentError('SSH_FAILED', `${host} lets nobody in with the keys at hand`, {
      help: 'load the key (`ssh-add`), or name it in ~/.ssh/config',
    });
  return new AgentError('SSH_FAILED', `${host} cannot be reached${last === '' ? '' : `: ${last}`}`);
}

/** The error that a command of ours told on the other side, or its last line. */
export function remoteError(host: string, what: string, exitCode: number | null, tail: string): AgentError {
  const lines = tail
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
  const told = lines.map((line) => /^error\[([A-Z_0-9]+)\]: (.*)$/.exec(line)).findLast((match) => match !== null);
  const help = lines.map((line) => /^help: (.*)$/.exec(line)).findLast((match) => match !== null)?.[1];
  if (told != null) {
    const [, code = '', message = ''] = told;
    const known = Object.hasOwn(errorRegistry, code) ? (code as ErrorCode) : 'COMMAND_FAILED';
    return new AgentError(known, message, { help: `on ${host}: ${help ?? errorRegistry[known].help}`, details: { host, what } });
  }
  return new AgentError(
    'COMMAND_FAILED',
    `${what} failed on ${host}${lines.length === 0 ? ` (exit code ${exitCode})` : `: ${lines.at(-1)}`}`,
    {
      help: `see it there: \`ssh ${host}\``,
      details: { host, what },
    },
  );
}

/** What the first look told, as NAME=value lines. */
export interface RemoteFacts {
  readonly machine: string;
  readonly isRoot: boolean;
  readonly hasSudo: boolean;
  readonly hasSystemd: boolean;
  /** The agent's unit runs. */
  readonly isActive: boolean;
  /** Of the program in place; empty when there is none. */
  readonly installed: string;
  /** Digest of agent.yaml without what set-up added at its end; empty when there is none. */
  readonly configuration: string;
  readonly secrets: string;
}

const YAML = SYSTEM_FILE;
const ENV = SYSTEM_SECRETS;

/** A script. Both files are closed to all but root. */
export const PROBE = [
  'echo "system=$(uname -s)"',
  'echo "machine=$(uname -m)"',
  'echo "uid=$(id -u)"',
  'echo "systemd=$([ -d /run/systemd/system ] && echo yes)"',
  'echo "sudo=$(sudo -n true </dev/null 2>/dev/null && echo yes)"',
  'echo "active=$(systemctl is-active comfylet.service </dev/null 2>/dev/null)"',
  'echo "installed=$(sha256sum /usr/local/bin/agent 2>/dev/null | cut -c1-64)"',
  'root=; test "$(id -u)" = 0 || root="sudo -n"',
  "$root sh 2>/dev/null <<'END' || true",
  `test ! -e ${YAML} || echo "configuration=$(sed '/^${ADDED_BY_SETUP}/,$d' ${YAML} | sha256sum | cut -c1-64)"`,
  `test ! -e ${ENV} || echo "secrets=$(sha256sum ${ENV} | cut -c1-64)"`,
  'END',
  '',
].join('\n');

/** The files as they are, until it is known whether set-up takes the new ones. */
export const KEEP_FILES = [YAML, ENV].map((file) => `test ! -e ${file} || cp -p ${file} ${file}.before`).join('\n');
export const PUT_BACK_FILES = [YAML, ENV].map((file) => `test ! -e ${file}.before || mv -f ${file}.before ${file}`).join('\n');

const valuesIn = (text: string): ((name: string) => string) => {
  const values = new Map(text.split('\n').map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1).trim()]));
  return (name) => values.get(name) ?? '';
};

/** @throws AgentError COMMAND_FAILED where the agent cannot be */
export function readProbe(host: string, text: string): RemoteFacts {
  const of = valuesIn(text);
  if (of('system') !== 'Linux')
    throw new AgentError('COMMAND_FAILED', `${host} does not run Linux (${of('system') || 'it does not tell'})`, {
      help: 'choose another host',
    });
  const facts = {
    machine: of('machine'),
    isRoot: of('uid') === '0',
    hasSudo: of('sudo') === 'yes',
    hasSystemd: of('systemd') === 'yes',
    isActive: of('active') === 'active',
    installed: of('installed'),
    configuration: of('configuration'),
    secrets: of('secrets'),
  };
  if (!facts.isRoot && !facts.hasSudo)
    throw new AgentError('FORBIDDEN', `this account of ${host} is not root and cannot use sudo without a password`, {
      help: 'log in as root, or allow it in /etc/sudoers.d',
    });
  return facts;
}
