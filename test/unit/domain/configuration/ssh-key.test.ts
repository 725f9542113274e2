import { describe, expect, it } from 'vitest';
import { checkSshKey, decodeSshKeyParts } from '../../../../src/domain/configuration/ssh-key.ts';

const body = (cipher: string): string => {
  const name = Buffer.alloc(4 + cipher.length);
  name.writeUInt32BE(cipher.length);
  name.write(cipher, 4, 'latin1');
  return Buffer.concat([Buffer.from('openssh-key-v1\0'), name, Buffer.alloc(300, 7)])
    .toString('base64')
    .replace(/.{70}/g, '$&\n');
};
const pem = (label: string, content: string): string => `-----BEGIN ${label}-----\n${content}\n-----END ${label}-----\n`;
const key = pem('OPENSSH PRIVATE KEY', body('none'));
const encoded = Buffer.from(key).toString('base64');
const parts = [encoded.slice(0, 250), encoded.slice(250, 500), encoded.slice(500)];
const invalid = (words: RegExp) => expect.objectContaining({ code: 'SSH_KEY_INVALID', message: expect.stringMatching(words) });

describe('decodeSshKeyParts', () => {
  it('joins what was cut anywhere, line ends included', () => {
    expect(decodeSshKeyParts(parts)).toBe(key);
    const wrapped = encoded.replace(/.{64}/g, '$&\n');
    expect(decodeSshKeyParts([wrapped.slice(0, 100), wrapped.slice(100, 333), wrapped.slice(333)])).toBe(key);
    expect(decodeSshKeyParts([encoded, undefined, ''])).toBe(key);
  });

  it.each([
    [[undefined, undefined, undefined], /none of CUT_PK_1\.\.3 is set/],
    [[parts[0], undefined, parts[2]], /CUT_PK_2 is not set, but CUT_PK_1 and CUT_PK_3 is/],
    [[undefined, parts[1], parts[2]], /CUT_PK_1 is not set/],
    [[parts[0], ' ', parts[2]], /CUT_PK_2 is not set/],
    [[parts[0], parts[1], undefined], /CUT_PK_3 is not set, perhaps the end is missing/],
    [['*', '*', '*'], /not base64/],
    [[parts[1], parts[0], parts[2]], /does not begin as a private key/],
    [[Buffer.from('hello').toString('base64')], /does not begin as a private key/],
  ])('says what is wrong with %j', (given, words) => {
    expect(() => decodeSshKeyParts(given)).toThrowError(invalid(words));
  });
});

describe('checkSshKey', () => {
  it('takes the usual kinds and mends line ends', () => {
    expect(checkSshKey(key.replaceAll('\n', '\r\n').trimEnd(), 'x')).toBe(key);
    const rsa = pem('RSA PRIVATE KEY', Buffer.alloc(200, 1).toString('base64'));
    expect(checkSshKey(rsa, 'x')).toBe(rsa);
  });

  it.each([
    ['ssh-ed25519 AAAA me', /is a public key/],
    [key.slice(0, 100), /is cut off/],
    [pem('OPENSSH PRIVATE KEY', body('aes256-ctr')), /passphrase/],
    [pem('RSA PRIVATE KEY', `Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n${Buffer.alloc(200).toString('base64')}`), /passphrase/],
    [pem('ENCRYPTED PRIVATE KEY', Buffer.alloc(200).toString('base64')), /passphrase/],
    [pem('OPENSSH PRIVATE KEY', Buffer.alloc(200).toString('base64')), /no OpenSSH key/],
    [pem('OPENSSH PRIVATE KEY', '!!!'), /not base64/],
    [pem('OPENSSH PRIVATE KEY', 'AAAA'), /too short/],
  ])('refuses %#', (text, words) => {
    expect(() => checkSshKey(text, 'the file')).toThrowError(invalid(words));
  });
});
