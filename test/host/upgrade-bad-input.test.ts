import { createHash, generateKeyPairSync, sign } from 'node:crypto';
import { copyFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type CommandResult, type SystemdMachine, whyNoSystemd } from '../support/systemd/machine.ts';
import { anUpgradeMachine, PENDING, TARGET, type UpgradeMachine } from '../support/systemd/upgrade-machine.ts';

/** What must not be upgraded to, and where it cannot be put: the old program goes on, and the error says what to do. */

const why = whyNoSystemd();
if (why !== null) console.log(`skipped: no systemd can be booted here: ${why}`);

const BIN = '/usr/local/bin';
const { publicKey, privateKey } = generateKeyPairSync('ed25519');

let lab: UpgradeMachine;
let machine: SystemdMachine;
let pids: readonly (number | null)[];
let agent: number;

const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');
/** A file inside, and its digest. */
const put = (name: string, bytes: Buffer): string => {
  writeFileSync(machine.at(`/root/${name}`), bytes);
  return sha256(bytes);
};
const upgrade = (name: string, ...args: readonly string[]): Promise<CommandResult> =>
  machine.run([TARGET, 'upgrade', `/root/${name}`, ...args]);
const sh = (script: string): Promise<string> => machine.must('sh', '-c', script);
// Seen from inside, where the mounts are.
const identity = (): Promise<string> => machine.must('stat', '-c', '%d %i %s %a %U', TARGET);
const left = (): Promise<string> =>
  sh(`find ${BIN} ${dirname(PENDING)} -name '.agent*' -o -name '*.new' -o -path ${PENDING} 2>/dev/null || true`);

describe.skipIf(why !== null)('an upgrade that cannot be', { timeout: 120_000 }, () => {
  beforeAll(async () => {
    lab = await anUpgradeMachine({
      programs: { '0.1.0': [], '0.2.0': [] },
      key: publicKey.export({ type: 'spki', format: 'pem' }).toString(),
    });
    machine = lab.machine;
    pids = await lab.pids();
    agent = await machine.mainPid('comfylet');
  }, 200_000);
  afterAll(() => lab?.close());

  let before: string;
  beforeEach(async () => {
    before = await identity();
  });
  /** It was as if nothing had been asked. */
  const nothingHappened = async (): Promise<void> => {
    expect([await identity(), await left()]).toEqual([before, '']);
    expect([await lab.inPlace(), await lab.serving(), await machine.mainPid('comfylet')]).toEqual(['0.1.0', '0.1.0', agent]);
    expect(await lab.pids()).toEqual(pids);
  };

  describe('because of the file', () => {
    afterEach(nothingHappened);

    it('is not the one that was meant', async () => {
      const { code, stderr } = await upgrade('0.2.0', '--sha256', lab.digest('0.1.0'));
      expect([code, stderr]).toEqual([
        1,
        expect.stringMatching(/error\[SIGNATURE_INVALID\].*has the sha256 [0-9a-f]{64}, and not[\s\S]*help: /),
      ]);
    });

    it('is cut off', async () => {
      const whole = readFileSync(lab.file('0.2.0'));
      const digest = put('short', whole.subarray(0, whole.length / 2));
      expect((await upgrade('short', '--sha256', lab.digest('0.2.0'))).stderr).toContain('error[SIGNATURE_INVALID]');
      const { code, stderr } = await upgrade('short', '--sha256', digest);
      expect([code, stderr]).toEqual([
        1,
        expect.stringMatching(/error\[BINARY_INVALID\].*is cut off: \d+ bytes of at least \d+[\s\S]*help: /),
      ]);
    });

    it('is for another processor', async () => {
      const bytes = readFileSync(lab.file('0.2.0'));
      bytes.writeUInt16LE(process.arch === 'x64' ? 0xb7 : 0x3e, 18);
      const { code, stderr } = await upgrade('foreign', '--sha256', put('foreign', bytes));
      expect([code, stderr]).toEqual([1, expect.stringMatching(/error\[BINARY_INVALID\].*is for \w+; this machine is \w+[\s\S]*help: /)]);
    });

    it.each([
      ['empty', Buffer.alloc(0), 'is no Linux program'],
      ['text', Buffer.from('#!/bin/sh\ntouch /root/was-run\n'.padEnd(100)), 'is no Linux program'],
      ['another program', readFileSync('/bin/true'), 'not an agent'],
    ])('is %s', async (name, bytes, words) => {
      const { code, stderr } = await upgrade('odd', '--sha256', put('odd', bytes));
      expect([name, code, stderr]).toEqual([name, 1, expect.stringContaining(words)]);
      expect(existsSync(machine.at('/root/was-run'))).toBe(false);
    });

    it('is signed by nobody, or by somebody else; and is taken when it is signed', async () => {
      expect(await upgrade('0.2.0')).toMatchObject({
        code: 1,
        stderr: expect.stringMatching(/SIGNATURE_INVALID.*0\.2\.0\.sig cannot be read/),
      });
      const bytes = readFileSync(lab.file('0.2.0'));
      const signature = (by: typeof privateKey): Buffer => Buffer.from(sign(null, bytes, by).toString('base64'));
      put('0.2.0.sig', signature(generateKeyPairSync('ed25519').privateKey));
      expect(await upgrade('0.2.0')).toMatchObject({
        code: 1,
        stderr: expect.stringMatching(/SIGNATURE_INVALID.*no signature of .*0\.2\.0/),
      });
      put('0.2.0.sig', signature(privateKey));
      expect(await upgrade('0.2.0', '--dry-run')).toMatchObject({ code: 0, stdout: expect.stringContaining('0.1.0 -> 0.2.0') });
    });

    it('is asked for without root rights', async () => {
      const { code, stderr } = await machine.run([...lab.upgradeTo('0.2.0')], { user: 'comfyui' });
      expect([code, stderr]).toEqual([1, expect.stringMatching(/ROOT_RIGHTS_NEEDED.*replacing the program[\s\S]*sudo/)]);
    });
  });

  describe('because of where it goes', () => {
    /** The directory of the program as a filesystem of its own; the program there is a copy, which is not started. */
    const own = async (options: string): Promise<void> => {
      await sh(
        `mkdir -p /root/bin && cp -p ${TARGET} /root/bin/agent && mount -t tmpfs -o mode=0755,${options} tmpfs ${BIN} && cp -p /root/bin/agent ${TARGET}`,
      );
      before = await identity();
    };
    afterEach(async () => {
      const failure = await nothingHappened().catch((error: unknown) => error);
      await machine.run(['umount', BIN]);
      if (failure !== undefined) throw failure;
    });
    const DISK_FULL = expect.stringMatching(/error\[DISK_FULL\][\s\S]*help: /) as string;

    it('is read-only', async () => {
      await sh(`mount --bind ${BIN} ${BIN} && mount -o remount,bind,ro ${BIN}`);
      const { code, stderr } = await machine.run(lab.upgradeTo('0.2.0'));
      expect([code, stderr]).toEqual([
        1,
        expect.stringMatching(/error\[PREFIX_NOT_WRITABLE\].*the filesystem is read-only[\s\S]*help: .*writable/),
      ]);
    });

    it('is full while it is copied', async () => {
      await own('size=160m');
      expect(await machine.run(lab.upgradeTo('0.2.0'))).toMatchObject({ code: 1, stderr: DISK_FULL });
    });

    it('is full while it is fetched', async () => {
      await own('size=160m');
      await sh('systemd-run --quiet --unit=origin --working-directory=/root python3 -m http.server --bind 127.0.0.1 8000');
      await sh('until python3 -c "import socket; socket.create_connection((\'127.0.0.1\', 8000))" 2>/dev/null; do :; done');
      const url = 'http://127.0.0.1:8000/0.2.0';
      const { code, stderr } = await machine.run([TARGET, 'upgrade', url, '--sha256', lab.digest('0.2.0')]);
      await sh('systemctl stop origin');
      expect({ code, stderr }).toEqual({ code: 1, stderr: DISK_FULL });
    });

    it.each([
      ['the new program', 2],
      ['a second name of the old one', 3],
    ])('has no place for %s', async (_, inodes) => {
      await own(`nr_inodes=${inodes}`);
      expect(await machine.run(lab.upgradeTo('0.2.0'))).toMatchObject({ code: 1, stderr: DISK_FULL });
    });
  });

  it('because the record of it has no place: the program stays, and the agent goes on', async () => {
    const records = dirname(PENDING);
    await sh(`mkdir -p ${records} && mount -t tmpfs -o size=64k,mode=0755 tmpfs ${records}`);
    await machine.run(['sh', '-c', `dd if=/dev/zero of=${records}/filler bs=4k`]);
    const { code, stderr } = await machine.run(lab.upgradeTo('0.2.0'));
    expect([code, stderr]).toEqual([1, expect.stringMatching(/error\[DISK_FULL\].*upgrade\.json[\s\S]*help: /)]);
    await sh(`umount ${records}`);
    await nothingHappened();
  });

  it.each([
    ['its directory', `chmod 0777 ${BIN}`, `chmod 0755 ${BIN}`],
    ['the program', `chown comfyui ${TARGET}`, `chown root ${TARGET}`],
    ['the record', `mkdir -p ${dirname(PENDING)} && chown comfyui ${dirname(PENDING)}`, `rmdir ${dirname(PENDING)}`],
  ])('because somebody else than root could change %s', async (_, spoil, mend) => {
    await sh(spoil);
    const { code, stderr } = await machine.run(lab.upgradeTo('0.2.0'));
    expect([code, stderr]).toEqual([1, expect.stringMatching(/error\[UPGRADE_REFUSED\][\s\S]*help: /)]);
    await sh(mend);
    await nothingHappened();
  });

  it('nevertheless goes through once all is well, with a PATH that lies', async () => {
    await sh(
      'mkdir /hostile && for name in systemctl sh sha256sum agent python3 git ps uname; do printf "#!/bin/sh\\n/usr/bin/touch /hostile/met-$0\\n" >/hostile/$name; chmod +x /hostile/$name; done',
    );
    const command = lab.upgradeTo('0.2.0').map((word) => (word === '/root/0.2.0' ? '0.2.0' : word));
    copyFileSync(lab.file('0.1.0'), machine.at('/root/agent'));
    const { code, stderr } = await machine.run(['/usr/bin/env', '-C', '/root', 'PATH=/hostile:.', ...command]);
    expect({ code, stderr }).toMatchObject({ code: 0 });
    expect(await sh('ls /hostile')).not.toContain('met');
    expect([await lab.inPlace(), await lab.serving(), await lab.pids()]).toEqual(['0.2.0', '0.2.0', pids]);
  });
});
