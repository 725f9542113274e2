/** SSH private keys as text: put together from environment variables, and looked at before ssh is given one. */
import { AgentError } from '../errors/errors.ts';

const openSshMagic = 'openssh-key-v1\0';
const names = (indexes: readonly number[]): string => indexes.map((index) => `CUT_PK_${index + 1}`).join(' and ');

/**
 * Joins CUT_PK_1, CUT_PK_2, … (base64 of a private key, cut anywhere), decodes and checks them.
 * @returns the key, ending in a line feed
 * @throws AgentError SSH_KEY_INVALID, naming the part that is missing
 */
export function decodeSshKeyParts(parts: readonly (string | undefined)[]): string {
  const indexes = parts.map((_, index) => index);
  const set = indexes.filter((index) => (parts[index] ?? '').trim() !== '');
  const missing = indexes.filter((index) => !set.includes(index));
  if (set.length === 0) throw new AgentError('SSH_KEY_INVALID', `none of CUT_PK_1..${parts.length} is set`);
  const gaps = missing.filter((index) => index < Math.max(...set));
  if (gaps.length > 0) throw new AgentError('SSH_KEY_INVALID', `${names(gaps)} is not set, but ${names(set)} is`);
  const hint = missing.length > 0 ? `; ${names(missing)} is not set, perhaps the end is missing` : '';

  const joined = parts.join('').replace(/\s+/g, '');
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(joined) || joined.length % 4 === 1)
    throw new AgentError('SSH_KEY_INVALID', `CUT_PK_1..${parts.length} together are not base64${hint}`);
  try {
    return checkSshKey(Buffer.from(joined, 'base64').toString('utf8'), `CUT_PK_1..${parts.length}`);
  } catch (error) {
    throw hint === '' || !(error instanceof AgentError) ? error : new AgentError('SSH_KEY_INVALID', error.message + hint);
  }
}

/**
 * Checks that a text is a private key that ssh can use without being asked for a passphrase.
 * @param source where it came from, for the message
 * @returns the key with Unix line ends, ending in a line feed (ssh refuses others)
 * @throws AgentError SSH_KEY_INVALID
 */
export function checkSshKey(text: string, source: string): string {
  const refuse = (why: string, help?: string): AgentError =>
    new AgentError('SSH_KEY_INVALID', `the SSH key of ${source} ${why}`, help === undefined ? {} : { help });
  const key = `${text.replace(/\r\n?/g, '\n').trim()}\n`;
  const label = /^-----BEGIN ((?:[A-Z0-9]+ )?PRIVATE KEY)-----\n/.exec(key)?.[1];
  if (label === undefined) {
    if (/^(ssh-|ecdsa-|sk-)/.test(key)) throw refuse('is a public key', 'name the private one (without .pub)');
    throw refuse('does not begin as a private key does (-----BEGIN … PRIVATE KEY-----)');
  }
  const end = `\n-----END ${label}-----\n`;
  if (!key.endsWith(end)) throw refuse(`is cut off: its last line is not -----END ${label}-----`);
  const passphrase = refuse('is protected by a passphrase, and nobody is there to type it', 'use a deploy key without a passphrase');
  const lines = key.slice(0, -end.length).split('\n').slice(1);
  if (label.startsWith('ENCRYPTED') || lines.some((line) => /^Proc-Type:.*ENCRYPTED/.test(line))) throw passphrase;
  const body = lines
    .filter((line) => !line.includes(':'))
    .join('')
    .trim();
  if (!/^[A-Za-z0-9+/\s]+={0,2}$/.test(body)) throw refuse('does not parse: its body is not base64');
  const bytes = Buffer.from(body, 'base64');
  if (bytes.length < 32) throw refuse('does not parse: it is too short');
  if (label.startsWith('OPENSSH')) {
    if (bytes.toString('latin1', 0, openSshMagic.length) !== openSshMagic) throw refuse('does not parse: it is no OpenSSH key');
    const length = bytes.readUInt32BE(openSshMagic.length);
    if (bytes.toString('latin1', openSshMagic.length + 4, openSshMagic.length + 4 + Math.min(length, 64)) !== 'none') throw passphrase;
  }
  return key;
}
