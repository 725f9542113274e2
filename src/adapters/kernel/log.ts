import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { uptime } from 'node:os';
import { setTimeout as pause } from 'node:timers/promises';
import type { KernelMessage } from '../../domain/cards/kernel-message.ts';
import { AgentError } from '../../domain/errors/errors.ts';
import type { KernelLog } from '../../ports/kernel.ts';
import type { Shell } from '../../ports/shell.ts';
import { parseJournalLine, parseKmsgRecord } from './log-lines.ts';

export interface KernelLogOptions {
  readonly shell: Shell;
  /** Another path in tests. */
  readonly device?: string;
  /** Between two looks at the device: it cannot tell by itself, for a read that waits would hold a thread for ever. */
  readonly periodMs?: number;
}

/** The kernel cuts a record at 8 KiB (PRINTK_MESSAGE_MAX and its prefix); a smaller buffer is refused with EINVAL. */
const RECORD_BYTES = 16 * 1024;
/** Records taken in one look: a flood must not keep the agent busy. The ring of the kernel holds the rest, or drops its oldest. */
const RECORDS_AT_ONCE = 20_000;
/** Older lines of the journal than these are not looked at. */
const JOURNAL_LINES = 20_000;
const JOURNAL_TIMEOUT_MS = 15_000;
const JOURNAL_BYTES = 16 * 1024 * 1024;

/** Reads the device without waiting; where that is forbidden or there is none (containers), the journal is asked. */
export function createKernelLog({ shell, device = '/dev/kmsg', periodMs = 1_000 }: KernelLogOptions): KernelLog {
  return {
    async read(words) {
      const handle = await openDevice(device);
      if (handle === null) return readJournal(shell, words, device);
      const found: KernelMessage[] = [];
      try {
        await drain(handle, words, (message) => found.push(message));
      } finally {
        await handle.close();
      }
      return found;
    },

    async follow(words, onMessage, signal) {
      const handle = await openDevice(device);
      if (handle === null) return followJournal(shell, words, device, onMessage, signal);
      try {
        while (!signal.aborted) {
          await drain(handle, words, onMessage);
          await pause(periodMs, undefined, { signal, ref: false }).catch(() => undefined);
        }
      } finally {
        await handle.close();
      }
    },
  };
}

const codeOf = (error: unknown): string => (error instanceof Error && 'code' in error ? String(error.code) : '');

/** null: there is none, or it may not be opened. */
const openDevice = (device: string): Promise<FileHandle | null> =>
  open(device, constants.O_RDONLY | constants.O_NONBLOCK).catch(() => null);

/** One record with each read, until there is none. */
async function drain(handle: FileHandle, words: string, onMessage: (message: KernelMessage) => void): Promise<void> {
  const buffer = Buffer.alloc(RECORD_BYTES);
  // Times in the log count from the boot.
  const bootedAt = Date.now() - uptime() * 1_000;
  for (let count = 0; count < RECORDS_AT_ONCE; count++) {
    try {
      const { bytesRead } = await handle.read(buffer, 0, RECORD_BYTES, null);
      if (bytesRead === 0) return;
      const text = buffer.toString('utf8', 0, bytesRead);
      const message = text.includes(words) ? parseKmsgRecord(text, bootedAt) : null;
      if (message !== null) onMessage(message);
    } catch (error) {
      if (codeOf(error) === 'EAGAIN') return;
      // Records were dropped before they were read: the next read goes on with the oldest that is left.
      if (codeOf(error) === 'EPIPE') continue;
      throw unreadable(error instanceof Error ? error.message : String(error), error);
    }
  }
}

const journalArguments = (lines: number): readonly string[] => ['-k', '-b', '-o', 'json', '-q', '--no-pager', '-n', String(lines)];

async function readJournal(shell: Shell, words: string, device: string): Promise<readonly KernelMessage[]> {
  const program = await journalProgram(shell, device);
  const found: KernelMessage[] = [];
  const result = await shell.run(program, journalArguments(JOURNAL_LINES), {
    timeoutMs: JOURNAL_TIMEOUT_MS,
    maxOutputBytes: JOURNAL_BYTES,
    onLine: (line, stream) => {
      const message = stream === 'stdout' && line.includes(words) ? parseJournalLine(line) : null;
      if (message !== null) found.push(message);
    },
  });
  // A kernel that has booted has said something: an empty answer comes of missing rights (or of no journal at all).
  if (result.exitCode !== 0 || result.stdout.trim() === '')
    throw unreadable(`${device} cannot be opened and the journal shows nothing of the kernel`);
  return found;
}

async function followJournal(
  shell: Shell,
  words: string,
  device: string,
  onMessage: (message: KernelMessage) => void,
  signal: AbortSignal,
): Promise<void> {
  // Tells missing rights from silence.
  await readJournal(shell, words, device);
  const program = await journalProgram(shell, device);
  const { tail } = await shell.run(program, [...journalArguments(JOURNAL_LINES), '-f'], {
    signal,
    maxOutputBytes: 1,
    onLine: (line, stream) => {
      const message = stream === 'stdout' && line.includes(words) ? parseJournalLine(line) : null;
      if (message !== null) onMessage(message);
    },
  });
  if (!signal.aborted) throw unreadable(`journalctl ended: ${tail.trim().split('\n').at(-1)?.slice(0, 200) ?? ''}`);
}

async function journalProgram(shell: Shell, device: string): Promise<string> {
  const program = await shell.which('journalctl');
  if (program === null) throw unreadable(`${device} cannot be opened and there is no journalctl`);
  return program;
}

const unreadable = (message: string, cause?: unknown): AgentError =>
  new AgentError('KERNEL_LOG_UNREADABLE', `the kernel log cannot be read: ${message}`, cause === undefined ? {} : { cause });
