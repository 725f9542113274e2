/** Headers of a tar archive: plain files only, POSIX ustar, what every tar reads. */

export const TAR_BLOCK = 512;
const MODE = '0000600';
const NAME_BYTES = 100;
const PREFIX_BYTES = 155;
/** Eleven octal digits; larger sizes are written as GNU tar does, in base 256. */
const LARGEST_OCTAL = 0o77777777777;

export interface TarHeader {
  readonly name: string;
  readonly sizeBytes: number;
  /** '0': a plain file; others are links, directories, devices and extensions. */
  readonly type: string;
}

/** Zeros after a member, to the next block. */
export const tarPadding = (sizeBytes: number): number => (TAR_BLOCK - (sizeBytes % TAR_BLOCK)) % TAR_BLOCK;

/**
 * The header of a plain file.
 * @param modifiedAt epoch ms
 */
export function tarHeader(name: string, sizeBytes: number, modifiedAt: number): Buffer {
  const block = Buffer.alloc(TAR_BLOCK);
  const octal = (value: number, digits: number): string => Math.floor(value).toString(8).padStart(digits, '0');
  const { prefix, rest } = split(name);
  block.write(rest, 0);
  block.write(MODE, 100);
  block.write(octal(0, 7), 108);
  block.write(octal(0, 7), 116);
  if (sizeBytes <= LARGEST_OCTAL) block.write(octal(sizeBytes, 11), 124);
  else {
    block[124] = 0x80;
    block.writeBigUInt64BE(BigInt(sizeBytes), 128);
  }
  block.write(octal(modifiedAt / 1_000, 11), 136);
  block.write('0', 156);
  block.write('ustar\u000000', 257, 'latin1');
  block.write(prefix, 345);
  block.write(`${octal(sumOf(block), 6)}\0 `, 148, 'latin1');
  return block;
}

/** null: the block of zeros that ends an archive. @throws Error when it is no header */
export function readTarHeader(block: Buffer): TarHeader | null {
  if (block.every((byte) => byte === 0)) return null;
  const text = (from: number, length: number): string => block.toString('utf8', from, from + length).split('\0')[0] ?? '';
  const octal = (from: number, length: number): number => {
    const digits = text(from, length).trim();
    if (!/^[0-7]+$/.test(digits)) throw new Error('a header of the archive is damaged');
    return Number.parseInt(digits, 8);
  };
  if (octal(148, 8) !== sumOf(block)) throw new Error('a header of the archive is damaged');
  if (text(257, 6) !== 'ustar') throw new Error('it is no tar archive of the POSIX form');
  const sizeBytes = block[124] === 0x80 ? Number(block.readBigUInt64BE(128)) : octal(124, 12);
  if (!Number.isSafeInteger(sizeBytes)) throw new Error('a header of the archive is damaged');
  const [name, prefix] = [text(0, NAME_BYTES), text(345, PREFIX_BYTES)];
  const type = block[156] === 0 ? '0' : String.fromCharCode(block[156] ?? 0);
  return { name: prefix === '' ? name : `${prefix}/${name}`, sizeBytes, type };
}

/** The sum is taken with blanks in its own place. */
const sumOf = (block: Buffer): number => block.reduce((sum, byte, at) => sum + (at >= 148 && at < 156 ? 0x20 : byte), 0);

function split(name: string): { readonly prefix: string; readonly rest: string } {
  if (Buffer.byteLength(name) <= NAME_BYTES) return { prefix: '', rest: name };
  const at = name.lastIndexOf('/');
  const [prefix, rest] = [name.slice(0, Math.max(at, 0)), name.slice(at + 1)];
  if (at <= 0 || Buffer.byteLength(prefix) > PREFIX_BYTES || Buffer.byteLength(rest) > NAME_BYTES)
    throw new Error(`the name ${name} is too long for a tar archive`);
  return { prefix, rest };
}
