import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmod, chown, lchown, link, mkdir, rename, symlink, truncate, writeFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createFiles } from '../../../src/adapters/files/files.ts';
import { type TempRoot, tempRoot } from '../../support/temp-root.ts';

/** What a pack can put in the place of a file that the agent reads. Nothing of it may hang, fill the memory or be read elsewhere. */

const run = promisify(execFile);
const isRoot = process.getuid?.() === 0;
const NOBODY = { name: 'nobody', uid: 65_534, gids: [65_534] };
const MAX = 1_000;

const files = createFiles();
let root: TempRoot;
let within: string;
const foreign = (name: string, reader = files) => reader.readForeign(`${within}/${name}`, { within, maxBytes: MAX });
const digest = (name: string, reader = files) => reader.digestForeign(`${within}/${name}`, { within, maxBytes: MAX });

beforeEach(async () => {
  root = await tempRoot();
  within = root.at('pack');
  await mkdir(within);
  await writeFile(root.at('secret'), 'TOKEN=very-secret\n');
});
afterEach(() => root.remove());

type Make = (path: string) => Promise<unknown>;
const IN_PLACE: readonly (readonly [what: string, make: Make, said: RegExp])[] = [
  ['a named pipe', (path) => run('mkfifo', [path]), /a named pipe, not a file/],
  ['a directory', (path) => mkdir(path), /a directory, not a file/],
  ['a huge file', (path) => writeFile(path, '').then(() => truncate(path, 1024 ** 4)), /larger than 1000 bytes/],
  ['a file one byte too long', (path) => writeFile(path, 'x'.repeat(MAX + 1)), /larger than 1000 bytes/],
  ['a link to a device', (path) => symlink('/dev/zero', path), /leads out of/],
  ['a link out', (path) => symlink('../secret', path), /leads out of/],
  ['a link to /proc', (path) => symlink('/proc/self/environ', path), /leads out of/],
  ['a link to a pipe inside', (path) => run('mkfifo', [`${path}.pipe`]).then(() => symlink(`${path}.pipe`, path)), /a named pipe/],
  ['a link to itself', (path) => symlink(path, path), /leads out|in a circle/],
];
const DEVICE: (typeof IN_PLACE)[number] = ['a device', (path) => run('mknod', [path, 'c', '1', '5']), /a device, not a file/];

describe('what packs can write', () => {
  it.each(isRoot ? [...IN_PLACE, DEVICE] : IN_PLACE)('%s in place of a file is refused in words', async (_what, make, said) => {
    await make(`${within}/requirements.txt`);
    await expect(foreign('requirements.txt')).rejects.toMatchObject({
      code: 'INPUT_REFUSED',
      message: expect.stringMatching(said),
    });
    await expect(foreign('requirements.txt')).rejects.not.toThrow(/very-secret/);
    await expect(digest('requirements.txt')).rejects.toMatchObject({ code: 'INPUT_REFUSED', message: expect.stringMatching(said) });
  });

  it('a digest is that of the very bytes, and only of what may be read', async () => {
    const bytes = Buffer.from([0xff, 0x00, 0xfe]);
    await writeFile(`${within}/bytes`, bytes);
    expect(await digest('bytes')).toBe(createHash('sha256').update(bytes).digest('hex'));
    expect(await digest('none')).toBeNull();
    if (!isRoot) return;
    await chmod(`${within}/bytes`, 0o600);
    await expect(digest('bytes', createFiles({ foreign: NOBODY }))).rejects.toMatchObject({ code: 'INPUT_REFUSED' });
  });

  it('a plain file is read, and so is one that a link inside leads to', async () => {
    await writeFile(`${within}/base.txt`, 'numpy\n');
    await symlink('base.txt', `${within}/requirements.txt`);
    expect(await foreign('base.txt')).toBe('numpy\n');
    expect(await foreign('requirements.txt')).toBe('numpy\n');
    expect(await foreign('none.txt')).toBeNull();
    await mkdir(`${within}/deep/er`, { recursive: true });
    await symlink('../../base.txt', `${within}/deep/er/up`);
    await symlink(`${within}/deep`, `${within}/absolute`);
    expect(await foreign('absolute/er/up')).toBe('numpy\n');
    await symlink('../deep/../../pack/base.txt', `${within}/deep/back`);
    await expect(foreign('deep/back')).rejects.toMatchObject({ code: 'INPUT_REFUSED' });
    await writeFile(`${within}/full.txt`, 'x'.repeat(MAX));
    expect(await foreign('full.txt')).toHaveLength(MAX);
  });

  it('whether something is there outside cannot be told', async () => {
    await symlink('../none', `${within}/to-none`);
    await symlink('../secret', `${within}/to-secret`);
    for (const name of ['to-none', 'to-secret', '../none', '../secret'])
      await expect(foreign(name)).rejects.toMatchObject({ code: 'INPUT_REFUSED', details: { why: `it leads out of ${within}` } });
  });

  it('a path that climbs out is refused, also through a directory that is a link', async () => {
    await mkdir(root.at('elsewhere'));
    await writeFile(root.at('elsewhere', 'a.txt'), 'very-secret');
    await symlink(root.at('elsewhere'), `${within}/wheels`);
    for (const name of ['../secret', 'wheels/a.txt', '../pack-2/a.txt']) {
      await mkdir(root.at('pack-2'), { recursive: true });
      await writeFile(root.at('pack-2', 'a.txt'), 'very-secret');
      await expect(foreign(name)).rejects.toMatchObject({ code: 'INPUT_REFUSED', message: expect.stringContaining('leads out') });
    }
  });

  it('a file that is exchanged for a link while it is read leads nowhere', async () => {
    await writeFile(`${within}/plain`, 'plain');
    await symlink('../secret', `${within}/evil`);
    let isDone = false;
    const swap = (async () => {
      while (!isDone) {
        await link(`${within}/plain`, `${within}/next`).catch(() => undefined);
        await rename(`${within}/next`, `${within}/turn`).catch(() => undefined);
        await symlink('../secret', `${within}/next`).catch(() => undefined);
        await rename(`${within}/next`, `${within}/turn`).catch(() => undefined);
      }
    })();
    const seen = new Set<string | null>();
    for (let round = 0; round < 300; round += 1) seen.add(await foreign('turn').catch((error: { code: string }) => error.code));
    isDone = true;
    await swap;
    expect([...seen].filter((each) => each !== 'plain' && each !== null && each !== 'INPUT_REFUSED')).toEqual([]);
  });

  it.skipIf(!isRoot)('with another user only what that one may read is read, whatever the agent may', async () => {
    const other = createFiles({ foreign: NOBODY });
    await chmod(root.path, 0o755);
    await writeFile(`${within}/open.txt`, 'open');
    await writeFile(`${within}/closed.txt`, 'very-secret', { mode: 0o600 });
    await writeFile(`${within}/own.txt`, 'own', { mode: 0o600 });
    await chown(`${within}/own.txt`, NOBODY.uid, 0);
    await mkdir(`${within}/closed`, { mode: 0o700 });
    await writeFile(`${within}/closed/a.txt`, 'very-secret');
    expect(await foreign('open.txt', other)).toBe('open');
    expect(await foreign('own.txt', other)).toBe('own');
    for (const name of ['closed.txt', 'closed/a.txt'])
      await expect(foreign(name, other)).rejects.toMatchObject({
        code: 'INPUT_REFUSED',
        message: expect.stringContaining('nobody may not'),
      });
  });
});

describe('what is obeyed', () => {
  const instruction = (name: string) => files.readInstruction(root.at(name), { maxBytes: MAX });

  it.each(isRoot ? [...IN_PLACE, DEVICE] : IN_PLACE)('%s in its place is refused, or followed to a plain file', async (what, make) => {
    await make(root.at('config_nodes.json'));
    if (what === 'a link out') return;
    const wanted = what === 'a link to /proc' ? /larger than|could not be read|not read/ : /is not read/;
    await expect(instruction('config_nodes.json')).rejects.toMatchObject({ message: expect.stringMatching(wanted) });
  });

  it.skipIf(!isRoot)('is doubted by the file, each link, and each directory in which one can be exchanged', async () => {
    const border = { comfyui: NOBODY, trusted: [0, 1], names: new Map([[1, 'daemon']]) };
    const asked = async (name: string) =>
      (await createFiles({ border }).readInstruction(root.at(name), { maxBytes: MAX }))?.distrust?.why ?? null;
    await chmod(root.path, 0o755);
    await mkdir(root.at('shared'));
    await chmod(root.at('shared'), 0o755);
    const file = root.at('shared', 'nodes.json');
    await writeFile(file, '{}');
    await chmod(file, 0o644);
    await symlink('shared/nodes.json', root.at('config_nodes.json'));
    expect([await asked('shared/nodes.json'), await asked('config_nodes.json')]).toEqual([null, null]);
    expect(await files.readInstruction(file, { maxBytes: MAX })).toMatchObject({ text: '{}', distrust: null });

    await chown(file, 1, 1);
    expect(await asked('config_nodes.json')).toBeNull();
    await chown(file, 2, 1);
    expect(await asked('config_nodes.json')).toContain(`${file} belongs to uid 2`);
    await chown(file, NOBODY.uid, 0);
    expect(await asked('config_nodes.json')).toBe(`${file} belongs to nobody`);
    await chown(file, 0, NOBODY.uid);
    await chmod(file, 0o664);
    expect(await asked('config_nodes.json')).toBe(`${file} can be written by nobody (mode 664)`);
    await chmod(file, 0o644);
    await lchown(root.at('config_nodes.json'), NOBODY.uid, 0);
    expect(await asked('config_nodes.json')).toBe(`${root.at('config_nodes.json')} belongs to nobody`);
    await lchown(root.at('config_nodes.json'), 0, 0);
    await chown(root.at('shared'), 0, NOBODY.uid);
    await chmod(root.at('shared'), 0o775);
    expect(await asked('config_nodes.json')).toBe(`it lies in ${root.at('shared')}, in which nobody can put another in its place`);
    await chmod(root.at('shared'), 0o1775);
    expect(await asked('config_nodes.json')).toBeNull();
  });

  it('a link that climbs is followed as the kernel does', async () => {
    await mkdir(root.at('a', 'b'), { recursive: true });
    await writeFile(root.at('a', 'nodes.json'), '[]');
    await symlink('../nodes.json', root.at('a', 'b', 'link'));
    await symlink(root.at('a', 'b'), root.at('absolute'));
    expect((await instruction('absolute/link'))?.text).toBe('[]');
  });
});

describe("what is the agent's own", () => {
  it.each(['readText', 'digest', 'readPart', 'tail'] as const)('%s does not wait for a pipe', async (call) => {
    const path = root.at('pipe');
    await run('mkfifo', [path]);
    const calls = {
      readText: () => files.readText(path),
      digest: () => files.digest(path),
      readPart: () => files.readPart(path, 0, 10),
      tail: async () => {
        for await (const _ of files.tail(path, { lines: 1, follow: false }, new AbortController().signal)) return;
      },
    };
    await expect(calls[call]()).rejects.toMatchObject({ code: 'FILE_UNREADABLE', message: expect.stringContaining('a named pipe') });
  });

  it('reads no device', async () => {
    await symlink('/dev/zero', root.at('zero'));
    await expect(files.readText(root.at('zero'))).rejects.toMatchObject({ message: expect.stringContaining('a device, not a file') });
  });
});
