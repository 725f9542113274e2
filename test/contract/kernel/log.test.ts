import { randomUUID } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createKernelLog } from '../../../src/adapters/kernel/log.ts';
import { createShell } from '../../../src/adapters/shell/shell.ts';
import type { KernelMessage } from '../../../src/domain/cards/kernel-message.ts';
import type { KernelLog } from '../../../src/ports/kernel.ts';
import { createFakeKernelLog } from '../../fakes/kernel-log.ts';
import { eventually } from '../../support/eventually.ts';
import { mayUseKmsg, sayToKernel } from '../../support/kernel/log.ts';

let directory: string;
let abort: AbortController;
const followers: Promise<void>[] = [];
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'kernel-log-'));
  abort = new AbortController();
});
afterEach(async () => {
  abort.abort();
  await Promise.allSettled(followers.splice(0));
  rmSync(directory, { recursive: true, force: true });
});

const shell = (path = '/usr/bin:/bin') => createShell({ path });

/** A journalctl that prints its file and, with -f, what is added to it. */
function installJournal(lines: readonly string[]): { readonly path: string; add(line: string): void } {
  const file = join(directory, 'journal');
  writeFileSync(file, lines.map((line) => `${line}\n`).join(''));
  const program = join(directory, 'journalctl');
  writeFileSync(program, `#!/bin/sh\ncase " $* " in *" -f "*) exec tail -n +1 -f '${file}' ;; esac\ncat '${file}'\n`);
  chmodSync(program, 0o755);
  return { path: `${directory}:/usr/bin:/bin`, add: (line) => writeFileSync(file, `${line}\n`, { flag: 'a' }) };
}

const entry = (text: string, at = Date.now()): string => JSON.stringify({ MESSAGE: text, __REALTIME_TIMESTAMP: String(at * 1_000) });

interface Subject {
  readonly log: KernelLog;
  readonly say: (text: string) => void;
}

const subjects: readonly (readonly [string, () => Subject])[] = [
  [
    'fake',
    () => {
      const fake = createFakeKernelLog();
      return { log: fake.kernelLog, say: fake.say };
    },
  ],
  [
    mayUseKmsg() ? 'the device' : 'the device (skipped: /dev/kmsg may not be written here)',
    () => ({ log: createKernelLog({ shell: shell(), periodMs: 50 }), say: sayToKernel }),
  ],
  [
    'the journal',
    () => {
      const journal = installJournal([entry('Linux version 6.1.0')]);
      return {
        log: createKernelLog({ shell: shell(journal.path), device: join(directory, 'no-device') }),
        say: (text) => journal.add(entry(text)),
      };
    },
  ],
];

describe.each(subjects)('KernelLog, %s', (name, open) => {
  const skipped = name.includes('skipped');
  const follow = (log: KernelLog, words: string): KernelMessage[] => {
    const heard: KernelMessage[] = [];
    followers.push(log.follow(words, (message) => heard.push(message), abort.signal));
    return heard;
  };

  it.skipIf(skipped)('reads what it holds of these words, with the time', async () => {
    const { log, say } = open();
    const word = `agent test ${randomUUID()}`;
    say(`NVRM: ${word} one`);
    say('something else');
    say(`NVRM: ${word} two`);
    const found = await log.read(word);
    expect(found.map(({ text }) => text)).toEqual([`NVRM: ${word} one`, `NVRM: ${word} two`]);
    for (const { at } of found) expect(Math.abs(at - Date.now())).toBeLessThan(60_000);
  });

  it.skipIf(skipped)('tells what was there and then each new line, until the abort', async () => {
    const { log, say } = open();
    const word = `agent test ${randomUUID()}`;
    say(`before ${word}`);
    const heard = follow(log, word);
    await eventually('the line of before is told', () => heard.length === 1);
    say(`after ${word}`);
    say('not this one');
    await eventually('the new line is told', () => heard.length === 2);
    expect(heard.map(({ text }) => text)).toEqual([`before ${word}`, `after ${word}`]);
    abort.abort();
    await expect(Promise.all(followers)).resolves.toBeDefined();
  });
});

describe('a kernel log that may not be read', () => {
  it.each([
    ['there is no journalctl', () => createShell({ path: '/nowhere' }), /no journalctl/],
    ['the journal shows nothing', () => createShell({ path: installJournal([]).path }), /shows nothing/],
  ])('when %s: says so with a remedy', async (_, open, message) => {
    const log = createKernelLog({ shell: open(), device: join(directory, 'no-device') });
    const expected = {
      code: 'KERNEL_LOG_UNREADABLE',
      message: expect.stringMatching(message),
      help: expect.stringContaining('CAP_SYSLOG'),
    };
    await expect(log.read('x')).rejects.toMatchObject(expected);
    await expect(log.follow('x', () => undefined, abort.signal)).rejects.toMatchObject(expected);
  });

  it('by the fake: the same', async () => {
    const fake = createFakeKernelLog();
    const following = fake.kernelLog.follow('x', () => undefined, abort.signal);
    fake.forbid();
    await expect(following).rejects.toMatchObject({ code: 'KERNEL_LOG_UNREADABLE' });
    await expect(fake.kernelLog.read('x')).rejects.toMatchObject({ code: 'KERNEL_LOG_UNREADABLE' });
  });

  it('a device that is no log is an error', async () => {
    const device = join(directory, 'directory');
    mkdirSync(device);
    const log = createKernelLog({ shell: shell(), device });
    await expect(log.read('x')).rejects.toMatchObject({ code: 'KERNEL_LOG_UNREADABLE' });
  });

  it('a journal that ends is told', async () => {
    const program = join(directory, 'journalctl');
    writeFileSync(program, `#!/bin/sh\necho '${entry('Linux version 6.1.0')}'\n`);
    chmodSync(program, 0o755);
    const log = createKernelLog({ shell: shell(`${directory}:/usr/bin:/bin`), device: join(directory, 'no-device') });
    await expect(log.follow('x', () => undefined, abort.signal)).rejects.toMatchObject({
      message: expect.stringContaining('journalctl ended'),
    });
  });
});
