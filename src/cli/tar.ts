/** A tar archive in memory: plain files only, POSIX ustar, what every tar reads. */

export interface TarEntry {
  /** Relative, at most 100 bytes. */
  readonly name: string;
  readonly content: string;
}

const BLOCK = 512;
const MODE = '0000600';

/** @param modifiedAt epoch ms, of every entry */
export function createTar(entries: readonly TarEntry[], modifiedAt: number): Buffer {
  const parts: Buffer[] = [];
  for (const { name, content } of entries) {
    const body = Buffer.from(content, 'utf8');
    parts.push(header(name, body.length, modifiedAt), body, Buffer.alloc((BLOCK - (body.length % BLOCK)) % BLOCK));
  }
  // Two empty blocks end an archive.
  parts.push(Buffer.alloc(2 * BLOCK));
  return Buffer.concat(parts);
}

function header(name: string, size: number, modifiedAt: number): Buffer {
  if (Buffer.byteLength(name) > 100) throw new Error(`the name ${name} is too long for a tar archive`);
  const block = Buffer.alloc(BLOCK);
  const octal = (value: number, digits: number): string => Math.floor(value).toString(8).padStart(digits, '0');
  block.write(name, 0);
  block.write(MODE, 100);
  block.write(octal(0, 7), 108);
  block.write(octal(0, 7), 116);
  block.write(octal(size, 11), 124);
  block.write(octal(modifiedAt / 1_000, 11), 136);
  // The sum is taken with blanks in its own place.
  block.write(' '.repeat(8), 148);
  block.write('0', 156);
  block.write('ustar\u000000', 257, 'latin1');
  block.write(
    `${octal(
      block.reduce((sum, byte) => sum + byte, 0),
      6,
    )}\0 `,
    148,
    'latin1',
  );
  return block;
}
