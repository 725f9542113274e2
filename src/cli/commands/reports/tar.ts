import { TAR_BLOCK, tarHeader, tarPadding } from '../../../domain/files/tar.ts';

/** A tar archive in memory. */

export interface TarEntry {
  /** Relative, at most 100 bytes. */
  readonly name: string;
  readonly content: string;
}

/** @param modifiedAt epoch ms, of every entry */
export function createTar(entries: readonly TarEntry[], modifiedAt: number): Buffer {
  const parts: Buffer[] = [];
  for (const { name, content } of entries) {
    const body = Buffer.from(content, 'utf8');
    parts.push(tarHeader(name, body.length, modifiedAt), body, Buffer.alloc(tarPadding(body.length)));
  }
  // Two empty blocks end an archive.
  parts.push(Buffer.alloc(2 * TAR_BLOCK));
  return Buffer.concat(parts);
}
