/** The pinned uv: which wheel, and how the program is taken out of it without a Python. */
import { createReadStream, createWriteStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { createInflateRaw } from 'node:zlib';

/** Newest stable release on PyPI when this was written; file names and digests as PyPI lists them. */
export const UV_VERSION = '0.13.8';

export interface PinnedWheel {
  readonly name: string;
  readonly sha256: string;
}

/** By `process.arch`, Linux with glibc. Source: https://pypi.org/project/uv/0.13.8/#files */
export const UV_WHEELS: Readonly<Record<string, PinnedWheel>> = {
  x64: {
    name: `uv-${UV_VERSION}-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl`,
    sha256: 'e18a57b8b352eb7c8feb317b9f6f533c8f0ad9673fd6cf34bbe3cf1a9f6a8984',
  },
  arm64: {
    name: `uv-${UV_VERSION}-py3-none-manylinux_2_28_aarch64.whl`,
    sha256: '5337c30bb893b4f9ce0ceb921ba2da0d13f649da644f40ad3bef84083bef0203',
  },
};

/** Path of the program inside the wheel. */
export const UV_PROGRAM = `uv-${UV_VERSION}.data/scripts/uv`;

export interface IndexPageLink {
  readonly name: string;
  readonly url: string;
}

/**
 * Files of a project page of a package index: PEP 691 JSON, else PEP 503 HTML. Digests of the index are not read: the
 * pinned one decides.
 */
export function indexPageLinks(page: { readonly text: string; readonly mediaType: string; readonly url: string }): IndexPageLink[] {
  const link = (name: string, url: string): IndexPageLink[] =>
    URL.canParse(url, page.url) ? [{ name, url: new URL(url, page.url).href.split('#')[0] ?? '' }] : [];
  if (page.mediaType.endsWith('json')) {
    const { files } = JSON.parse(page.text) as { files?: readonly { filename?: unknown; url?: unknown }[] };
    return (files ?? []).flatMap((file) =>
      typeof file.filename === 'string' && typeof file.url === 'string' ? link(file.filename, file.url) : [],
    );
  }
  return [...page.text.matchAll(/<a\b[^<>]*?\bhref\s*=\s*(?:"([^"]*)"|'([^']*)')/gi)].flatMap((match) => {
    const url = (match[1] ?? match[2] ?? '').replaceAll('&amp;', '&');
    const name = decodeURIComponent((url.split(/[?#]/)[0] ?? '').split('/').pop() ?? '');
    return name === '' ? [] : link(name, url);
  });
}

const END_OF_DIRECTORY = 0x06054b50;
const DIRECTORY_ENTRY = 0x02014b50;
const LARGEST_TAIL = 22 + 65_535;
const LARGEST_DIRECTORY = 4 * 1024 * 1024;

/**
 * Writes one entry of a zip file, streamed. Rejects when the file is no zip, has no such entry, or uses a method other
 * than stored and deflated. Integrity is not checked here: the whole file's sha256 was.
 */
export async function extractZipEntry(zipFile: string, entry: string, target: string, mode: number): Promise<void> {
  const handle = await open(zipFile, 'r');
  let start: number;
  let length: number;
  let deflated: boolean;
  try {
    const read = async (position: number, size: number): Promise<Buffer> => {
      const buffer = Buffer.alloc(size);
      const { bytesRead } = await handle.read(buffer, 0, size, position);
      return buffer.subarray(0, bytesRead);
    };
    const { size } = await handle.stat();
    const tail = await read(Math.max(0, size - LARGEST_TAIL), Math.min(size, LARGEST_TAIL));
    let end = tail.length - 22;
    while (end >= 0 && tail.readUInt32LE(end) !== END_OF_DIRECTORY) end--;
    if (end < 0) throw new Error(`${zipFile} is no zip file`);
    const directorySize = tail.readUInt32LE(end + 12);
    if (directorySize > LARGEST_DIRECTORY) throw new Error(`${zipFile} has a directory of ${directorySize} bytes`);
    const found = findEntry(await read(tail.readUInt32LE(end + 16), directorySize), entry);
    if (found === null) throw new Error(`${zipFile} holds no ${entry}`);
    if (found.method !== 0 && found.method !== 8) throw new Error(`${entry} in ${zipFile} is packed by method ${found.method}`);
    // The local header repeats the name but may have another extra field than the directory.
    const header = await read(found.offset, 30);
    start = found.offset + 30 + header.readUInt16LE(26) + header.readUInt16LE(28);
    length = found.packedSize;
    deflated = found.method === 8;
  } finally {
    await handle.close();
  }
  const source = createReadStream(zipFile, { start, end: start + length - 1 });
  const sink = createWriteStream(target, { mode, flags: 'wx', flush: true });
  await (deflated ? pipeline(source, createInflateRaw(), sink) : pipeline(source, sink));
}

function findEntry(directory: Buffer, entry: string): { offset: number; packedSize: number; method: number } | null {
  for (let at = 0; at + 46 <= directory.length && directory.readUInt32LE(at) === DIRECTORY_ENTRY; ) {
    const nameLength = directory.readUInt16LE(at + 28);
    if (directory.toString('utf8', at + 46, at + 46 + nameLength) === entry) {
      return {
        offset: directory.readUInt32LE(at + 42),
        packedSize: directory.readUInt32LE(at + 20),
        method: directory.readUInt16LE(at + 10),
      };
    }
    at += 46 + nameLength + directory.readUInt16LE(at + 30) + directory.readUInt16LE(at + 32);
  }
  return null;
}
