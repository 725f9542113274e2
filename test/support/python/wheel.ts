/** Wheels made on the spot: for package indexes of tests, and as stubs where no build for this machine exists. */
import { createHash } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';

export interface WheelContent {
  readonly name: string;
  readonly version: string;
  /** Path inside site-packages -> text. Default: one empty package of the wheel's name. */
  readonly files?: Readonly<Record<string, string>>;
  /** Requires-Dist lines. */
  readonly requires?: readonly string[];
}

/** Writes `<name>-<version>-py3-none-any.whl` into the directory and answers with its path. */
export async function makeWheel(directory: string, { name, version, files, requires = [] }: WheelContent): Promise<string> {
  const distribution = name.replace(/[-_.]+/g, '_');
  const metadata = `${distribution}-${version}.dist-info`;
  const entries: Record<string, string> = {
    ...(files ?? { [`${distribution}/__init__.py`]: '' }),
    [`${metadata}/METADATA`]: [
      'Metadata-Version: 2.1',
      `Name: ${name}`,
      `Version: ${version}`,
      ...requires.map((line) => `Requires-Dist: ${line}`),
      '',
    ].join('\n'),
    [`${metadata}/WHEEL`]: 'Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n',
  };
  const record = Object.entries(entries).map(
    ([path, text]) => `${path},sha256=${createHash('sha256').update(text).digest('base64url')},${Buffer.byteLength(text)}`,
  );
  entries[`${metadata}/RECORD`] = `${record.join('\n')}\n${metadata}/RECORD,,\n`;
  await mkdir(directory, { recursive: true });
  const file = join(directory, `${distribution}-${version}-py3-none-any.whl`);
  await writeFile(file, zip(entries));
  return file;
}

/** A zip file of stored entries: the local headers, then the directory, then its end. */
export function zip(entries: Readonly<Record<string, string>>): Buffer {
  const parts: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const [path, text] of Object.entries(entries)) {
    const name = Buffer.from(path);
    const data = Buffer.from(text);
    // The fields that both headers share: version, flags, method, time, date (1980-01-01), crc, sizes, name, extra.
    const fields = Buffer.alloc(26);
    fields.writeUInt16LE(20, 0);
    fields.writeUInt16LE(0x21, 8);
    fields.writeUInt32LE(crc32(data), 10);
    fields.writeUInt32LE(data.length, 14);
    fields.writeUInt32LE(data.length, 18);
    fields.writeUInt16LE(name.length, 22);
    const local = Buffer.concat([Buffer.from('PK\x03\x04'), fields, name, data]);
    const rest = Buffer.alloc(14);
    rest.writeUInt32LE(0o644 << 16, 6);
    rest.writeUInt32LE(offset, 10);
    directory.push(Buffer.concat([Buffer.from('PK\x01\x02'), Buffer.from([20, 3]), fields, rest, name]));
    parts.push(local);
    offset += local.length;
  }
  const size = directory.reduce((sum, each) => sum + each.length, 0);
  const end = Buffer.alloc(22);
  end.write('PK\x05\x06', 'latin1');
  end.writeUInt16LE(directory.length, 8);
  end.writeUInt16LE(directory.length, 10);
  end.writeUInt32LE(size, 12);
  end.writeUInt32LE(offset, 16);
  return Buffer.concat([...parts, ...directory, end]);
}
