import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createArchives } from '../../../src/adapters/files/archives.ts';
import { createFiles } from '../../../src/adapters/files/files.ts';
import { TAR_BLOCK, tarHeader, tarPadding } from '../../../src/domain/files/tar.ts';
import type { Archives } from '../../../src/ports/archives.ts';
import { createFakeArchives } from '../../fakes/archives.ts';

const execute = promisify(execFile);
const INDEX = { name: 'manifest.json', text: '{"a":1}' };
const LIMIT = { name: INDEX.name, maxBytes: 1_000 };
const sha = (text: string): string => createHash('sha256').update(text).digest('hex');

let root: string;
let file: string;
let out: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'agent-archives-'));
  file = join(root, 'one.tar');
  out = join(root, 'out');
  await mkdir(out);
});
afterEach(() => rm(root, { recursive: true, force: true }));

const content = async (name: string, text: string) => {
  const path = join(root, name.replace('/', '-'));
  await writeFile(path, text);
  return { name, path };
};
const wanted = (name: string, text: string) => ({
  name,
  // A table is written before there is a directory.
  get path() {
    return join(out, name.replace('/', '-'));
  },
  sizeBytes: Buffer.byteLength(text),
  sha256: sha(text),
});

describe.each([
  ['fake', () => createFakeArchives(createFiles())],
  ['real', () => createArchives()],
] as const)('archives (%s)', (_name, create) => {
  let archives: Archives;
  beforeEach(() => {
    archives = create();
  });

  it('give back what was put in, in order', async () => {
    await archives.create(file, INDEX, [
      await content('a.txt', 'A'),
      await content('b/empty', ''),
      await content('b/long', 'x'.repeat(3_000)),
    ]);
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    const seen: string[] = [];
    await archives.extract(
      file,
      LIMIT,
      (text) => {
        seen.push(text);
        return [wanted('a.txt', 'A'), wanted('b/empty', ''), wanted('b/long', 'x'.repeat(3_000))];
      },
      { onProgress: (name) => seen.push(name) },
    );
    expect(seen.slice(0, 2)).toEqual([INDEX.text, 'a.txt']);
    expect(seen.at(-1)).toBe('b/long');
    expect(await readFile(join(out, 'b-long'), 'utf8')).toBe('x'.repeat(3_000));
  });

  it('never take the place of a file', async () => {
    await writeFile(file, 'mine');
    await expect(archives.create(file, INDEX, [])).rejects.toMatchObject({ code: 'COMMAND_FAILED' });
    expect(await readFile(file, 'utf8')).toBe('mine');
  });

  it.each([
    ['another digest', [{ name: 'a.txt', sizeBytes: 1, sha256: sha('B') }], /a\.txt has sha256 .* in place of/],
    ['another size', [{ name: 'a.txt', sizeBytes: 2, sha256: sha('A') }], /a\.txt has 1 bytes in place of 2/],
    ['another name', [{ name: 'c.txt', sizeBytes: 1, sha256: sha('A') }], /it holds "a\.txt" where manifest\.json has c\.txt/],
    ['one too many', [], /it holds "a\.txt", which manifest\.json does not name/],
    [
      'one that is missing',
      [
        { name: 'a.txt', sizeBytes: 1, sha256: sha('A') },
        { name: 'b.txt', sizeBytes: 1, sha256: sha('B') },
      ],
      /b\.txt is missing/,
    ],
  ])('refuse %s, naming the member', async (_what, expected, message) => {
    await archives.create(file, INDEX, [await content('a.txt', 'A')]);
    const places = expected.map((each) => ({ ...each, path: join(out, each.name) }));
    const failure = archives.extract(file, LIMIT, () => places);
    await expect(failure).rejects.toMatchObject({ code: 'BUNDLE_INVALID', message: expect.stringMatching(message) });
  });

  it('tell that there is none', async () => {
    await expect(archives.extract(file, LIMIT, () => [])).rejects.toMatchObject({ code: 'FILE_UNREADABLE' });
  });
});

/** A block as an archive has it, with another type of member. */
function member(name: string, text: string, type = '0'): Buffer {
  const body = Buffer.from(text);
  const header = tarHeader(name, body.length, 0);
  header.write(type, 156, 'latin1');
  header.write(' '.repeat(8), 148);
  header.write(
    `${header
      .reduce((sum, byte) => sum + byte, 0)
      .toString(8)
      .padStart(6, '0')}\0 `,
    148,
    'latin1',
  );
  return Buffer.concat([header, body, Buffer.alloc(tarPadding(body.length))]);
}
const end = Buffer.alloc(2 * TAR_BLOCK);
const manifest = member(INDEX.name, INDEX.text);

describe('an archive that somebody made', () => {
  it('is read by the system tar, and one of the system tar is read', async () => {
    await createArchives({ now: () => 1_000_000 }).create(file, INDEX, [await content('wheels/a.whl', 'A')]);
    expect((await execute('tar', ['-tf', file])).stdout).toBe('manifest.json\nwheels/a.whl\n');
    const theirs = join(root, 'theirs');
    await mkdir(theirs);
    await writeFile(join(theirs, INDEX.name), INDEX.text);
    await writeFile(join(theirs, 'a.txt'), 'A');
    await execute('tar', ['-cf', `${file}2`, '--format=ustar', INDEX.name, 'a.txt'], { cwd: theirs });
    await createArchives().extract(`${file}2`, LIMIT, () => [wanted('a.txt', 'A')]);
    expect(await readFile(join(out, 'a.txt'), 'utf8')).toBe('A');
  });

  it('tells sizes beyond eight gigabytes', async () => {
    const { readTarHeader } = await import('../../../src/domain/files/tar.ts');
    expect(readTarHeader(tarHeader('models/x', 20 * 1024 ** 3, 0))).toEqual({ name: 'models/x', sizeBytes: 20 * 1024 ** 3, type: '0' });
  });

  it.each([
    ['a path that escapes', [manifest, member('../evil', 'A'), end], /it holds "\.\.\/evil"/],
    ['an absolute path', [manifest, member('/tmp/evil', 'A'), end], /it holds "\/tmp\/evil"/],
    ['a symbolic link', [manifest, member('a.txt', '', '2'), end], /"a\.txt" is no plain file/],
    ['a hard link', [manifest, member('a.txt', '', '1'), end], /"a\.txt" is no plain file/],
    ['a directory', [manifest, member('a.txt', '', '5'), end], /"a\.txt" is no plain file/],
    ['an extension header', [manifest, member('a.txt', 'path=/etc/passwd', 'x'), end], /"a\.txt" is no plain file/],
    ['a manifest that is a link', [member(INDEX.name, '', '2'), end], /"manifest\.json" is no plain file/],
    ['a manifest that is too large', [member(INDEX.name, 'x'.repeat(1_001)), end], /larger than 1000 bytes/],
    ['no manifest', [member('a.txt', 'A'), end], /does not begin with manifest\.json/],
    ['nothing', [], /ends before manifest\.json/],
    ['an end within a member', [manifest, member('a.txt', 'A').subarray(0, 513)], /ends within a\.txt/],
    ['an end without its blocks', [manifest, member('a.txt', 'A')], /ends before the blocks that end an archive/],
    ['a member twice', [manifest, member('a.txt', 'A'), member('a.txt', 'A'), end], /which manifest\.json does not name/],
    ['a broken header', [manifest, Buffer.alloc(512, 7), end], /a header of the archive is damaged/],
    ['gzip', [Buffer.from([0x1f, 0x8b]), Buffer.alloc(600, 1)], /a header of the archive is damaged/],
  ])('with %s is refused, and nothing is written outside', async (_what, blocks, message) => {
    await writeFile(file, Buffer.concat(blocks));
    const failure = createArchives().extract(file, LIMIT, () => [wanted('a.txt', 'A')]);
    await expect(failure).rejects.toMatchObject({ code: 'BUNDLE_INVALID', message: expect.stringMatching(message) });
    expect((await readdir(root)).sort()).toEqual(['one.tar', 'out']);
  });

  it('does not write through a link that lies in the way', async () => {
    await writeFile(join(root, 'victim'), 'mine');
    await symlink(join(root, 'victim'), join(out, 'a.txt'));
    await writeFile(file, Buffer.concat([manifest, member('a.txt', 'A'), end]));
    await expect(createArchives().extract(file, LIMIT, () => [wanted('a.txt', 'A')])).rejects.toThrow();
    expect(await readFile(join(root, 'victim'), 'utf8')).toBe('mine');
  });
});
