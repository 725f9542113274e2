import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { access, chmod, chown, constants, copyFile, link, mkdir, open, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { VersionDocument } from '../../domain/agent.ts';
import { AgentError, asAgentError } from '../../domain/errors/errors.ts';
import {
  PENDING_UPGRADE,
  PendingUpgrade,
  type Programs,
  previousOf,
  UPGRADE_PROOF,
  UPGRADE_RECORDS,
  UpgradeProof,
} from '../../domain/host/upgrade.ts';
import { STATE_VERSION_FILE, StateVersion } from '../../domain/state/version.ts';
import type { Shell } from '../../ports/shell.ts';
import { errorCode, isAbsent, writeFault } from '../files/errors.ts';
import { readPlain } from '../files/foreign/plain-file.ts';
import { openRootOwned, requireRootOwned, type Trust } from '../files/root-owned.ts';
import { readStat } from '../kernel/proc.ts';
import { silentLog } from '../logs/silent.ts';
import { createShell } from '../shell/shell.ts';
import { createDownloader, type Downloader } from '../sources/download.ts';

/** Four times of what the program is. */
const MAX_BYTES = 512 * 1024 * 1024;
const MAX_SMALL_BYTES = 64 * 1024;
const SILENCE_MS = 30_000;
/** A cold disk reads 120 MB in some seconds. */
const INSPECT_MS = 30_000;
/** e_machine of the ELF header, by Node.js's names. */
const MACHINES: Readonly<Record<string, number>> = { x64: 0x3e, arm64: 0xb7 };
const NAMES: Readonly<Record<number, string>> = { 62: 'x64', 183: 'arm64', 3: 'ia32', 40: 'arm' };
const ELF = 0x7f454c46;

export interface ProgramsOptions {
  /** For proxies and certificates. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly pid: number;
  readonly shell?: Shell;
  /** Where root keeps its records. */
  readonly records?: string;
  readonly trust?: Trust;
}

const isUrl = (source: string): boolean => /^https?:\/\//i.test(source);

export function createPrograms({
  environment,
  pid,
  shell = createShell({ path: '/usr/bin:/bin' }),
  records = UPGRADE_RECORDS,
  trust = { uid: 0 },
}: ProgramsOptions): Programs {
  const record = join(records, PENDING_UPGRADE);
  const known = Object.fromEntries(Object.entries(environment).filter((entry): entry is [string, string] => entry[1] !== undefined));
  const downloader: Downloader = createDownloader({ environment: known, timeoutMs: SILENCE_MS, log: silentLog });

  const fetchTo = async (file: string, source: string, maxBytes: number, signal: AbortSignal, onProgress: Progress): Promise<void> => {
    if (isUrl(source)) {
      await downloader.file({
        url: source,
        file,
        sha256: null,
        maxBytes,
        signal,
        onProgress: ({ bytes, totalBytes }) => onProgress(bytes, totalBytes),
      });
      return;
    }
    const facts = await stat(source).catch((error: unknown) => {
      throw isAbsent(error) ? new AgentError('BINARY_INVALID', `${source} does not exist`, { help: 'name the new program' }) : error;
    });
    // A pipe would be waited for without end.
    if (!facts.isFile()) throw new AgentError('BINARY_INVALID', `${source} is no plain file`, { help: 'save it to a file first' });
    const { size } = facts;
    if (size > maxBytes) throw new AgentError('BINARY_INVALID', `${source} has ${size} bytes; no such file is larger than ${maxBytes}`);
    await copyFile(source, file, constants.COPYFILE_EXCL);
    onProgress(size, size);
  };

  /** Tells whose it is, so that it goes when nobody works on it any more. */
  const besides = (target: string, purpose: string): string =>
    join(dirname(target), `.${basename(target)}.${purpose}${pid}-${readStat('/proc', pid)?.startTicks ?? ''}.new`);

  return {
    bring: async (source, target, { signal, onProgress }) => {
      const directory = dirname(target);
      await access(directory, constants.W_OK).catch((error: unknown) => {
        const why = errorCode(error) === 'EROFS' ? 'the filesystem is read-only' : 'it may not be written';
        throw new AgentError('PREFIX_NOT_WRITABLE', `${directory}: ${why}`, {
          help: 'run it as root (sudo); make a read-only filesystem writable first',
        });
      });
      await sweep(directory, basename(target));
      const file = besides(target, '');
      try {
        await fetchTo(file, source, MAX_BYTES, signal, onProgress);
        await chmod(file, 0o700);
        const { size } = await stat(file);
        return { file, sha256: await sha256Of(file), bytes: size };
      } catch (error) {
        await rm(file, { force: true });
        throw wordsOf(error, file);
      }
    },
    bytes: async (source, signal) => {
      if (!isUrl(source)) {
        const file = await open(source, constants.O_RDONLY | constants.O_NONBLOCK).catch((error: unknown) => {
          throw new AgentError('SIGNATURE_INVALID', `${source} cannot be read`, { cause: error });
        });
        try {
          if (!(await file.stat()).isFile()) throw new AgentError('SIGNATURE_INVALID', `${source} is no plain file`);
          const { bytesRead, buffer } = await file.read(Buffer.alloc(MAX_SMALL_BYTES));
          return buffer.subarray(0, bytesRead);
        } finally {
          await file.close();
        }
      }
      const { text } = await downloader.text({ url: source, maxBytes: MAX_SMALL_BYTES, signal });
      return Buffer.from(text, 'latin1');
    },
    sha256: (file) => sha256Of(file).catch((error: unknown) => Promise.reject(wordsOf(error, file))),
    inspect: async (file) => {
      await requireProgram(file);
      const { exitCode, stdout, tail, timedOut } = await shell
        .run(file, ['version', '--json'], { timeoutMs: INSPECT_MS, environment: { PATH: '/usr/bin:/bin' } })
        .catch((error: unknown) => {
          throw new AgentError('BINARY_INVALID', `${file} cannot be run: ${asAgentError(error).message}`, { cause: error });
        });
      if (exitCode !== 0)
        throw new AgentError(
          'BINARY_INVALID',
          `${file} does not run here: ${timedOut ? 'no answer in time' : tail.trim() || `exit ${exitCode ?? 'by a signal'}`}`,
        );
      const parsed = VersionDocument.safeParse(jsonOf(stdout));
      if (!parsed.success) throw new AgentError('BINARY_INVALID', `${file} is a program, and not an agent that can be upgraded to`);
      return parsed.data;
    },
    replace: async (target, fresh, previous) => {
      const kept = `${previous}.new`;
      try {
        const { uid, gid, mode } = await stat(target);
        await chown(fresh, uid, gid);
        await chmod(fresh, mode & 0o7777);
        await flush(fresh);
        await rm(kept, { force: true });
        await link(target, kept);
        await rename(kept, previous);
        // After an upgrade that went back both are names of one file, and rename does nothing.
        await rm(kept, { force: true });
        await rename(fresh, target);
        await flush(dirname(target));
      } catch (error) {
        await rm(kept, { force: true });
        throw wordsOf(error, target);
      }
    },
    goBack: async (target, sha256) => {
      const previous = previousOf(target);
      await requireProgramOfRoot(previous, sha256, trust);
      const fresh = besides(target, 'back.');
      try {
        // The old one stays where it was kept until this is done, whatever happens.
        await link(previous, fresh);
        await rename(fresh, target);
        await rm(fresh, { force: true });
        await flush(dirname(target));
      } catch (error) {
        await rm(fresh, { force: true });
        throw wordsOf(error, target);
      }
    },
    remove: (file) => rm(file, { force: true }),
    requireSafe: async (target) => {
      await requireRootOwned(dirname(target), trust);
      await (await openRootOwned(target, trust))?.close();
    },
    pending: async () => {
      const file = await openRootOwned(record, trust);
      if (file === null) return null;
      try {
        const { buffer, bytesRead } = await file.read(Buffer.alloc(MAX_SMALL_BYTES));
        const parsed = PendingUpgrade.safeParse(jsonOf(buffer.toString('utf8', 0, bytesRead)));
        if (parsed.success) return parsed.data;
        throw new AgentError('UPGRADE_REFUSED', `${record} says nothing that this agent understands`, { help: 'remove it' });
      } finally {
        await file.close();
      }
    },
    savePending: async (pending) => {
      // What a killed command has begun goes too.
      if (pending === null) return void (await Promise.all([record, `${record}.new`].map((path) => rm(path, { force: true }))));
      try {
        // Open to all: the agent reads it, which has no rights of root.
        await mkdir(records, { recursive: true, mode: 0o755 });
        await requireRootOwned(records, trust);
        await chmod(records, 0o755);
        await rm(`${record}.new`, { force: true });
        await writeFile(`${record}.new`, `${JSON.stringify(pending, null, 2)}\n`, { mode: 0o644, flag: 'wx' });
        await chmod(`${record}.new`, 0o644);
        await flush(`${record}.new`);
        await rename(`${record}.new`, record);
      } catch (error) {
        await rm(`${record}.new`, { force: true });
        throw wordsOf(error, record);
      }
    },
    proof: async (stateDirectory) => {
      const parsed = UpgradeProof.safeParse(jsonOf((await readPlain(join(stateDirectory, UPGRADE_PROOF), MAX_SMALL_BYTES)) ?? ''));
      return parsed.success ? parsed.data : null;
    },
    stateVersion: async (stateDirectory) => {
      const parsed = StateVersion.safeParse(jsonOf((await readPlain(join(stateDirectory, STATE_VERSION_FILE), MAX_SMALL_BYTES)) ?? ''));
      return parsed.success ? parsed.data : null;
    },
    own: () => ({ pid, startTicks: readStat('/proc', pid)?.startTicks ?? '' }),
    lives: (process) => readStat('/proc', process.pid)?.startTicks === process.startTicks,
  };
}

/** @throws AgentError UPGRADE_REFUSED */
async function requireProgramOfRoot(path: string, sha256: string, trust: Trust): Promise<void> {
  const file = await openRootOwned(path, trust);
  if (file === null) throw new AgentError('UPGRADE_REFUSED', `${path} is not there`);
  await file.close();
  if ((await sha256Of(path)) !== sha256)
    throw new AgentError('UPGRADE_REFUSED', `${path} is not the program that was in place before the upgrade`);
}

/** What commands that were killed have brought. */
async function sweep(directory: string, name: string): Promise<void> {
  for (const each of await readdir(directory)) {
    const [, pid, startTicks] = /^\.(?:.+)\.(\d+)-(\d*)\.new$/.exec(each) ?? [];
    if (!each.startsWith(`.${name}.`) || pid === undefined) continue;
    if (readStat('/proc', Number(pid))?.startTicks !== startTicks) await rm(join(directory, each), { force: true });
  }
}

type Progress = (bytes: number, totalBytes: number | null) => void;

function wordsOf(error: unknown, file: string): AgentError {
  const code = errorCode(error);
  if (code === 'EROFS' || code === 'EACCES' || code === 'EPERM')
    return new AgentError(
      'PREFIX_NOT_WRITABLE',
      `${file} could not be written: ${code === 'EROFS' ? 'the filesystem is read-only' : 'it is not allowed'}`,
      {
        help: 'run it as root (sudo); make a read-only filesystem writable first',
        cause: error,
      },
    );
  return error instanceof AgentError ? error : writeFault(error, file);
}

async function sha256Of(file: string): Promise<string> {
  const digest = createHash('sha256');
  await pipeline(createReadStream(file), digest);
  return digest.digest('hex');
}

/** On disk, so that a machine that loses its power has the one or the other. */
async function flush(path: string): Promise<void> {
  const file = await open(path, 'r');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

/** @throws AgentError BINARY_INVALID unless it starts as a program of this processor does, and is as long as it says */
async function requireProgram(path: string): Promise<void> {
  const file = await open(path, 'r');
  try {
    const { buffer: head, bytesRead } = await file.read(Buffer.alloc(64), 0, 64, 0);
    if (bytesRead < 64 || head.readUInt32BE(0) !== ELF) throw new AgentError('BINARY_INVALID', `${path} is no Linux program`);
    const machine = head.readUInt16LE(18);
    if (machine !== MACHINES[process.arch])
      throw new AgentError('BINARY_INVALID', `${path} is for ${NAMES[machine] ?? 'another processor'}; this machine is ${process.arch}`);
    // The table of sections is the last thing that the header knows of.
    const end = Number(head.readBigUInt64LE(40)) + head.readUInt16LE(58) * head.readUInt16LE(60);
    const { size } = await file.stat();
    if (size < end) throw new AgentError('BINARY_INVALID', `${path} is cut off: ${size} bytes of at least ${end}`);
  } finally {
    await file.close();
  }
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
