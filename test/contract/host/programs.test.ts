import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, chown, copyFile, lchown, mkdir, readdir, readFile, rename, rm, stat, symlink, truncate, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createPrograms } from '../../../src/adapters/host/programs.ts';
import type { PendingUpgrade, Programs } from '../../../src/domain/host/upgrade.ts';
import { type TempRoot, tempRoot } from '../../support/temp-root.ts';

/** On real files and real programs. */

let root: TempRoot;
let programs: Programs;
let target: string;
let server: Server | null;
const options = { signal: new AbortController().signal, onProgress: () => undefined };
beforeEach(async () => {
  root = await tempRoot();
  target = root.at('bin/agent');
  await mkdir(root.at('bin'));
  await writeFile(target, 'old', { mode: 0o755 });
  programs = createPrograms({
    environment: {},
    pid: process.pid,
    records: root.at('records'),
    trust: { uid: process.getuid?.() ?? 0 },
  });
  server = null;
});
afterEach(async () => {
  server?.close();
  await root.remove();
});

const serve = async (status: number, body: Buffer): Promise<string> => {
  server = createServer((_, response) => response.writeHead(status).end(body)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/agent`;
};
const inBin = async (): Promise<string[]> => (await readdir(root.at('bin'))).sort();

describe('a new program', () => {
  it.each([['a file'], ['a URL']])('is brought from %s beside the one in place, for nobody else yet', async (from) => {
    await writeFile(root.at('new'), 'new');
    const source = from === 'a file' ? root.at('new') : await serve(200, Buffer.from('new'));
    const { file, sha256, bytes } = await programs.bring(source, target, options);
    expect([sha256, bytes]).toEqual(['11507a0e2f5e69d5dfa40a62a1bd7b6ee57e6bcd85c67c9b8431b36fff21c437', 3]);
    expect((await stat(file)).mode & 0o777).toBe(0o700);
    expect(file.startsWith(root.at('bin/'))).toBe(true);
  });

  it('that is not there, or does not come, leaves nothing', async () => {
    await expect(programs.bring(root.at('none'), target, options)).rejects.toMatchObject({ code: 'BINARY_INVALID' });
    const url = await serve(404, Buffer.from('no'));
    await expect(programs.bring(url, target, options)).rejects.toMatchObject({ code: 'COMMAND_FAILED' });
    expect(await inBin()).toEqual(['agent']);
  });

  it('is a plain file, and so is its signature: no pipe and no directory is waited for', async () => {
    execFileSync('mkfifo', [root.at('pipe')]);
    for (const source of [root.at('pipe'), root.at('bin')]) {
      await expect(programs.bring(source, target, options)).rejects.toMatchObject({
        code: 'BINARY_INVALID',
        message: `${source} is no plain file`,
      });
      await expect(programs.bytes(source, options.signal)).rejects.toMatchObject({ code: 'SIGNATURE_INVALID' });
    }
    expect(await inBin()).toEqual(['agent']);
  });

  it('sweeps away what a killed command has left, and not what another one brings', async () => {
    const own = programs.own();
    await writeFile(root.at(`bin/.agent.${own.pid}-1.new`), 'left');
    await writeFile(root.at('bin/.agent.1-0.new'), 'left');
    await writeFile(root.at('bin/.agent.notes'), 'mine');
    await writeFile(root.at('new'), 'new');
    const { file } = await programs.bring(root.at('new'), target, options);
    expect(await inBin()).toEqual(['.agent.notes', file.slice(root.at('bin/').length), 'agent'].sort());
  });

  it('is not fetched where it cannot be put', async () => {
    const error = programs.bring(root.at('none'), '/proc/agent', options);
    await expect(error).rejects.toMatchObject({ code: expect.stringMatching(/PREFIX_NOT_WRITABLE|BINARY_INVALID/) as string });
  });

  it('takes the place of one that runs, which goes on, and gives it back', async () => {
    await copyFile('/bin/sleep', target);
    await chmod(target, 0o755);
    const running = spawn(target, ['60'], { stdio: 'ignore' });
    try {
      await writeFile(root.at('bin/fresh'), 'new', { mode: 0o700 });
      await programs.replace(target, root.at('bin/fresh'), `${target}.previous`);
      expect(await readFile(target, 'utf8')).toBe('new');
      expect((await stat(target)).mode & 0o777).toBe(0o755);
      expect(await inBin()).toEqual(['agent', 'agent.previous']);
      expect(running.exitCode).toBeNull();
      await programs.goBack(target, await programs.sha256(`${target}.previous`));
      expect(await readFile(target)).toEqual(await readFile('/bin/sleep'));
      // It stays, for whoever has to go back again.
      expect(await inBin()).toEqual(['agent', 'agent.previous']);
      await programs.goBack(target, await programs.sha256(`${target}.previous`));
      expect(await inBin()).toEqual(['agent', 'agent.previous']);
      await writeFile(root.at('bin/fresh'), 'newer', { mode: 0o700 });
      await programs.replace(target, root.at('bin/fresh'), `${target}.previous`);
      expect(await inBin()).toEqual(['agent', 'agent.previous']);
    } finally {
      running.kill('SIGKILL');
    }
  });

  it.each([
    ['text', async (file: string) => writeFile(file, 'x'.repeat(100)), 'no Linux program'],
    ['empty', async (file: string) => writeFile(file, ''), 'no Linux program'],
    ['cut off', async (file: string) => copyFile('/bin/ls', file).then(() => truncate(file, 4_096)), 'is cut off'],
    [
      'for another processor',
      async (file: string) => {
        const bytes = await readFile('/bin/ls');
        bytes.writeUInt16LE(process.arch === 'x64' ? 0xb7 : 0x3e, 18);
        await writeFile(file, bytes);
      },
      `this machine is ${process.arch}`,
    ],
    ['another program', async (file: string) => copyFile('/bin/true', file), 'not an agent'],
    ['one that fails', async (file: string) => copyFile('/bin/false', file), 'does not run here'],
  ])('that is %s is told', async (_, make, words) => {
    const file = root.at('bin/fresh');
    await make(file);
    await chmod(file, 0o755);
    await expect(programs.inspect(file)).rejects.toMatchObject({
      code: 'BINARY_INVALID',
      message: expect.stringContaining(words) as string,
    });
  });
});

const facts = { agent: '1', commit: null, node: '24', pm2: '7', sha256: 'x' };
const pending = (): PendingUpgrade => ({
  schema: 1,
  startedAt: new Date().toISOString(),
  target,
  from: facts,
  to: { ...facts, sha256: 'y' },
  by: programs.own(),
  starts: 0,
});

describe('an upgrade that is under way', () => {
  it('is written by root alone, whole or not at all, and for all to read', async () => {
    expect(await programs.pending()).toBeNull();
    await programs.savePending(pending());
    expect(await programs.pending()).toMatchObject({ starts: 0, target });
    expect((await stat(root.at('records/upgrade.json'))).mode & 0o777).toBe(0o644);
    expect((await stat(root.at('records'))).mode & 0o777).toBe(0o755);
    await programs.savePending(null);
    expect(await programs.pending()).toBeNull();
    await writeFile(root.at('records/upgrade.json'), '{"schema":1');
    await expect(programs.pending()).rejects.toMatchObject({ code: 'UPGRADE_REFUSED' });
  });

  it('leaves nothing of what could not be written, or was begun by a command that was killed', async () => {
    await mkdir(root.at('records/upgrade.json/in-the-way'), { recursive: true });
    await expect(programs.savePending(pending())).rejects.toBeInstanceOf(Error);
    expect(await readdir(root.at('records'))).toEqual(['upgrade.json']);
    await rm(root.at('records/upgrade.json'), { recursive: true });
    await writeFile(root.at('records/upgrade.json.new'), '{');
    await programs.savePending(null);
    expect(await readdir(root.at('records'))).toEqual([]);
  });

  it('knows whether its command lives: the same pid with another start does not', () => {
    const own = programs.own();
    expect(programs.lives(own)).toBe(true);
    expect(programs.lives({ ...own, startTicks: '1' })).toBe(false);
  });

  it('is proved by what the agent wrote, if that is a plain file', async () => {
    const proof = { schema: 1, startedAt: new Date().toISOString(), sha256: 'y' };
    expect(await programs.proof(root.path)).toBeNull();
    await writeFile(root.at('upgrade-proof.json'), JSON.stringify(proof));
    expect(await programs.proof(root.path)).toEqual(proof);
    await rename(root.at('upgrade-proof.json'), root.at('elsewhere'));
    await symlink(root.at('elsewhere'), root.at('upgrade-proof.json'));
    expect(await programs.proof(root.path)).toBeNull();
    await rm(root.at('upgrade-proof.json'));
    execFileSync('mkfifo', [root.at('upgrade-proof.json')]);
    expect(await programs.proof(root.path)).toBeNull();
  });
});

describe.skipIf(process.getuid?.() !== 0)('what root acts on', () => {
  const NOBODY = 65_534;
  const text = (change: Partial<PendingUpgrade> = {}): string => JSON.stringify({ ...pending(), ...change });
  const refused = { code: 'UPGRADE_REFUSED' };
  beforeEach(async () => {
    await mkdir(root.at('records'), { mode: 0o755 });
    await writeFile(root.at('records/upgrade.json'), text());
  });

  it.each<[string, () => Promise<unknown>]>([
    ['a record of somebody else', () => chown(root.at('records/upgrade.json'), NOBODY, NOBODY)],
    ['a record that others may write', () => chmod(root.at('records/upgrade.json'), 0o666)],
    ['a directory of somebody else', () => chown(root.at('records'), NOBODY, NOBODY)],
    ['a directory that a group may write', () => chmod(root.at('records'), 0o775)],
    ["a directory above that is somebody else's", () => chown(root.path, NOBODY, NOBODY)],
    [
      'a link of somebody else in place of the directory',
      async () => {
        await rename(root.at('records'), root.at('others'));
        await symlink(root.at('others'), root.at('records'));
        await lchown(root.at('records'), NOBODY, NOBODY);
      },
    ],
    [
      'a pipe',
      async () => {
        await rm(root.at('records/upgrade.json'));
        execFileSync('mkfifo', [root.at('records/upgrade.json')]);
      },
    ],
  ])('is not %s', async (_, spoil) => {
    expect(await programs.pending()).toMatchObject({ starts: 0 });
    await spoil();
    await expect(programs.pending()).rejects.toMatchObject(refused);
  });

  it.each<[string, () => Promise<unknown>]>([
    ['another program than the one before', () => writeFile(`${target}.previous`, 'evil')],
    ['a program of somebody else', () => chown(`${target}.previous`, NOBODY, NOBODY)],
    ['a program that others may write', () => chmod(`${target}.previous`, 0o777)],
    ['a program where others may put one', () => chmod(root.at('bin'), 0o777)],
    [
      'a link',
      async () => {
        await rename(`${target}.previous`, root.at('elsewhere'));
        await symlink(root.at('elsewhere'), `${target}.previous`);
      },
    ],
  ])('on the way back is not %s', async (_, spoil) => {
    await copyFile(target, `${target}.previous`);
    const { sha256 } = { sha256: await programs.sha256(target) };
    await spoil();
    await expect(programs.goBack(target, sha256)).rejects.toMatchObject(refused);
    expect(await readFile(target, 'utf8')).toBe('old');
  });

  it('is refused before anything is begun where others could replace the program', async () => {
    await programs.requireSafe(target);
    await chmod(root.at('bin'), 0o775);
    await expect(programs.requireSafe(target)).rejects.toMatchObject(refused);
  });
});
