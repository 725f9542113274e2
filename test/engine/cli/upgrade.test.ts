import { generateKeyPairSync, sign } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { StatusDocument, VersionDocument } from '../../../src/domain/agent.ts';
import type { HostAction } from '../../../src/domain/host/host.ts';
import type { PendingUpgrade } from '../../../src/domain/host/upgrade.ts';
import { fakeAgent } from '../../fakes/agent.ts';
import { createFakeHost, type FakeHost } from '../../fakes/host.ts';
import { createFakePrograms, type FakePrograms } from '../../fakes/programs.ts';
import { type CliLab, cliLab } from '../../support/machine/cli.ts';
import { aStatusDocument, aVersionDocument } from '../../support/machine/machine-documents.ts';

const TARGET = '/media/usb/agent';
const OLD_SHA = 'a'.repeat(64);
const NEW_SHA = 'b'.repeat(64);
const OLD: VersionDocument = { ...aVersionDocument(), singleFile: true };
const NEW: VersionDocument = { ...OLD, agent: '0.2.0' };

let lab: CliLab;
let machine: FakeHost;
let programs: FakePrograms;
/** What the agent on the socket says of itself. */
let status: StatusDocument;

const before = (): StatusDocument => {
  const document = aStatusDocument();
  return { ...document, agent: { ...document.agent, pid: 100, version: OLD.agent } };
};
/** systemd restarts the unit: whatever program is in place comes up, if it can. */
const restart = (comesUp: (version: string) => boolean): void => {
  const { carryOut } = machine;
  Object.assign(machine, {
    carryOut: async (action: HostAction) => {
      if (action.do !== 'restart') return carryOut(action);
      const version = programs.files.get(TARGET)?.version?.agent ?? '';
      const pid = (status.agent.pid ?? 0) + 1;
      status = { ...status, agent: { ...status.agent, pid, version: comesUp(version) ? version : 'none' } };
    },
  });
};

beforeEach(async () => {
  lab = await cliLab();
  machine = createFakeHost();
  machine.units.set('comfylet.service', { isEnabled: true, isActive: true, needsReload: false });
  programs = createFakePrograms();
  programs.files.set(TARGET, { sha256: OLD_SHA, version: OLD });
  programs.files.set('/new', { sha256: NEW_SHA, version: NEW });
  status = before();
  restart(() => true);
});
afterEach(() => lab.close());

const upgrade = (...args: string[]) => lab.run(['upgrade', ...args], { machine, programs, assets: { 'release-key.pem': null } });
const serve = () => lab.serve(fakeAgent({ status: async () => status }));
const inPlace = () => programs.files.get(TARGET)?.version?.agent;

describe('agent upgrade', () => {
  it('puts the new program in place, restarts the agent alone, and tells that instances went on', async () => {
    await serve();
    const { code, stdout } = await upgrade('/new', '--sha256', NEW_SHA, '--json');
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      done: true,
      from: { agent: OLD.agent, sha256: OLD_SHA },
      to: { agent: '0.2.0', sha256: NEW_SHA },
      instances: { kept: ['comfyui-gpu0', 'comfyui-gpu1'], restarted: [] },
    });
    expect(programs.done).toEqual(['bring', 'savePending', 'replace', 'savePending']);
    expect(programs.saved).toBeNull();
    expect(programs.files.get(`${TARGET}.previous`)?.version?.agent).toBe(OLD.agent);
  });

  it('brings the old program back when the new one does not come up', async () => {
    await serve();
    restart((version) => version === OLD.agent);
    const { code, stderr } = await upgrade('/new', '--sha256', NEW_SHA, '--timeout', '2s');
    expect(code).toBe(1);
    expect(stderr).toContain('error[UPGRADE_FAILED]: agent 0.2.0 was not up within 2');
    expect(stderr).toContain(`agent ${OLD.agent} is back`);
    expect(inPlace()).toBe(OLD.agent);
    expect(status.agent.version).toBe(OLD.agent);
    expect(programs.saved).toBeNull();
  });

  it('changes nothing with --dry-run, and for the program that is in place', async () => {
    await serve();
    expect((await upgrade('/new', '--sha256', NEW_SHA, '--dry-run')).stdout).toContain('nothing was changed');
    expect(inPlace()).toBe(OLD.agent);
    programs.files.set('/same', { sha256: OLD_SHA, version: OLD });
    expect((await upgrade('/same', '--sha256', OLD_SHA)).stdout).toContain('nothing is to be done');
    expect(programs.done).toEqual(['bring', 'bring']);
    expect([...programs.files.keys()].filter((name) => name.endsWith('.fresh'))).toEqual([]);
  });

  it.each([
    ['the wrong checksum', ['/new', '--sha256', OLD_SHA], 1, 'error[SIGNATURE_INVALID]'],
    ['no checksum and no key', ['/new'], 2, 'no key for signatures'],
    ['a checksum that is none', ['/new', '--sha256', 'abc'], 2, '64 hex digits'],
    ['no file', [], 2, 'no new program was named'],
    ['what is no program', ['/text', '--sha256', 'c'.repeat(64)], 1, 'error[BINARY_INVALID]'],
    ['one that is too old for the state', ['/ancient', '--sha256', 'd'.repeat(64)], 1, 'error[STATE_TOO_NEW]'],
  ])('refuses %s, and leaves no trace', async (_, args, exitCode, words) => {
    await serve();
    programs.files.set('/text', { sha256: 'c'.repeat(64), version: null });
    programs.files.set('/ancient', { sha256: 'd'.repeat(64), version: { ...NEW, stateVersion: 0 } });
    programs.state = { version: 1, minimum: 1, writer: 1 };
    const { code, stderr } = await upgrade(...args);
    expect(code).toBe(exitCode);
    expect(stderr).toContain(words);
    expect(inPlace()).toBe(OLD.agent);
    expect(programs.done).not.toContain('replace');
    expect([...programs.files.keys()].filter((name) => name.endsWith('.fresh'))).toEqual([]);
  });

  it('takes a signature by the key inside the program, and no other', async () => {
    await serve();
    const place = await mkdtemp(join(tmpdir(), 'agent-upgrade-'));
    try {
      const file = join(place, 'agent');
      await writeFile(file, 'a program');
      const { publicKey, privateKey } = generateKeyPairSync('ed25519');
      const key = publicKey.export({ type: 'spki', format: 'pem' }).toString();
      // The fake hands the file itself on: what is signed is what was brought.
      programs.files.set(file, { sha256: NEW_SHA, version: NEW });
      const { bring } = programs;
      Object.assign(programs, { bring: async (...args: Parameters<typeof bring>) => ({ ...(await bring(...args)), file }) });
      const signedBy = (signing: typeof privateKey) => sign(null, Buffer.from('a program'), signing).toString('base64');
      const run = () => lab.run(['upgrade', file, '--dry-run'], { machine, programs, assets: { 'release-key.pem': key } });
      programs.small.set(`${file}.sig`, Buffer.from(signedBy(generateKeyPairSync('ed25519').privateKey)));
      const other = await run();
      expect([other.code, other.stderr]).toEqual([1, expect.stringContaining('error[SIGNATURE_INVALID]')]);
      programs.files.set(file, { sha256: NEW_SHA, version: NEW });
      programs.small.set(`${file}.sig`, Buffer.from(signedBy(privateKey)));
      expect((await run()).code).toBe(0);
    } finally {
      await rm(place, { recursive: true, force: true });
    }
  });

  it('where no agent answers, leaves the proof to the new one and to the guard', async () => {
    const { code, stdout } = await upgrade('/new', '--sha256', NEW_SHA, '--json');
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ done: true, instances: null, awayMs: null });
    expect(inPlace()).toBe('0.2.0');
    expect(programs.saved).toMatchObject({ starts: 0, to: { agent: '0.2.0' } });
  });

  it('is held while another upgrade runs', async () => {
    await serve();
    const facts = { agent: '0.3.0', commit: null, node: '24', pm2: '7', sha256: 'x' };
    programs.saved = {
      schema: 1,
      startedAt: new Date().toISOString(),
      target: TARGET,
      from: facts,
      to: facts,
      by: { pid: 77, startTicks: '1' },
      starts: 0,
    };
    programs.alive.add(77);
    const held = await upgrade('/new', '--sha256', NEW_SHA);
    expect([held.code, held.stderr]).toEqual([5, expect.stringContaining('pid 77')]);
    programs.alive.clear();
    expect((await upgrade('/new', '--sha256', NEW_SHA)).code).toBe(0);
  });

  it('needs root', async () => {
    machine.set({ isRoot: false });
    const { code, stderr } = await upgrade('/new', '--sha256', NEW_SHA);
    expect(code).not.toBe(0);
    expect(stderr).toContain('sudo');
    expect(programs.done).toEqual([]);
  });

  it('without a unit it replaces the file, and says who has to be restarted', async () => {
    await serve();
    machine.units.set('comfylet.service', { isEnabled: false, isActive: false, needsReload: false });
    const { code, stdout } = await upgrade('/new', '--sha256', NEW_SHA, '--json');
    expect(code).toBe(0);
    expect(inPlace()).toBe('0.2.0');
    expect(JSON.parse(stdout)).toMatchObject({ done: true, instances: null, notes: [expect.stringContaining('restart it')] });
    expect(programs.saved).toBeNull();
  });

  it.each([['bring'], ['savePending'], ['replace']])('cut at %s, a whole program is in place', async (step) => {
    await serve();
    programs.cutAt = step;
    expect((await upgrade('/new', '--sha256', NEW_SHA)).code).toBe(1);
    expect(inPlace()).toBe(OLD.agent);
  });
});

describe('the guard before an agent that has not proved itself', () => {
  const guard = (program = `${TARGET}.previous`) => lab.run(['__upgrade-guard'], { machine, programs, program });
  const facts = { agent: '0.2.0', commit: null, node: '24', pm2: '7', sha256: NEW_SHA };
  const aPending = (): PendingUpgrade => ({
    schema: 1,
    startedAt: new Date().toISOString(),
    target: TARGET,
    from: { ...facts, agent: OLD.agent, sha256: OLD_SHA },
    to: facts,
    by: { pid: 77, startTicks: '1' },
    starts: 3,
  });
  const inTheMiddle = (): void => {
    programs.files.set(TARGET, { sha256: NEW_SHA, version: NEW });
    programs.files.set(`${TARGET}.previous`, { sha256: OLD_SHA, version: OLD });
    programs.saved = aPending();
  };

  it('lets it try three times, then the old one is back', async () => {
    await serve();
    // The command was killed just after the new program was in place.
    const { savePending } = programs;
    Object.assign(programs, { replace: programs.replace });
    restart(() => false);
    const running = upgrade('/new', '--sha256', NEW_SHA, '--timeout', '1s');
    Object.assign(programs, { goBack: async () => Promise.reject(new Error('killed')) });
    await running;
    Object.assign(programs, { savePending, goBack: async () => void programs.files.set(TARGET, { sha256: OLD_SHA, version: OLD }) });
    expect(programs.saved?.starts).toBe(0);
    expect(inPlace()).toBe('0.2.0');
    for (const starts of [1, 2, 3]) {
      expect((await guard()).code).toBe(0);
      expect(programs.saved?.starts).toBe(starts);
    }
    const last = await guard();
    expect(last.stderr).toContain('did not prove itself after 3 starts');
    expect(inPlace()).toBe(OLD.agent);
    expect(programs.saved).toBeNull();
  });

  it('forgets an upgrade that was killed before the program was replaced: the one kept beside it is of an earlier one', async () => {
    await serve();
    programs.files.set(`${TARGET}.previous`, { sha256: 'e'.repeat(64), version: { ...OLD, agent: '0.0.1' } });
    programs.cutAt = 'replace';
    const { savePending } = programs;
    // Killed: nobody takes it back.
    Object.assign(programs, {
      savePending: async (pending: unknown) => (pending === null ? undefined : savePending(pending as never)),
    });
    await upgrade('/new', '--sha256', NEW_SHA);
    Object.assign(programs, { savePending });
    expect(programs.saved).not.toBeNull();
    for (let start = 0; start < 5; start++) expect((await guard()).code).toBe(0);
    expect(inPlace()).toBe(OLD.agent);
    expect(programs.saved).toBeNull();
  });

  it('forgets an upgrade that the agent has proved, and no other', async () => {
    inTheMiddle();
    programs.proved = { schema: 1, startedAt: new Date(0).toISOString(), sha256: NEW_SHA };
    expect((await guard()).stderr).toContain('did not prove itself');
    expect(inPlace()).toBe(OLD.agent);
    inTheMiddle();
    programs.proved = { schema: 1, startedAt: programs.saved?.startedAt ?? '', sha256: NEW_SHA };
    expect((await guard()).code).toBe(0);
    expect([inPlace(), programs.saved]).toEqual(['0.2.0', null]);
  });

  it.each<[string, string, () => void]>([
    ['another program', `${TARGET}.previous`, () => (programs.saved = { ...aPending(), target: '/usr/bin/passwd' })],
    [
      'a program before that is not the one it names',
      `${TARGET}.previous`,
      () => programs.files.set(`${TARGET}.previous`, { sha256: 'e'.repeat(64), version: OLD }),
    ],
    ['a guard that is the program itself', TARGET, () => undefined],
    ['a guard of another name', '/media/usb/other.previous', () => undefined],
  ])('refuses %s, and changes nothing', async (_, program, spoil) => {
    inTheMiddle();
    spoil();
    const { saved } = programs;
    const { code, stderr } = await guard(program);
    expect([code, stderr]).toEqual([1, expect.stringContaining('error[UPGRADE_REFUSED]')]);
    expect([inPlace(), programs.saved]).toEqual(['0.2.0', saved]);
  });

  it('does nothing without an upgrade', async () => {
    expect((await guard()).code).toBe(0);
    expect(programs.done).toEqual([]);
  });
});
