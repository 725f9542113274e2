import { copyFileSync, existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eventually } from '../support/eventually.ts';
import { type SystemdMachine, whyNoSystemd } from '../support/systemd/machine.ts';
import { anUpgradeMachine, PENDING, TARGET, type UpgradeMachine } from '../support/systemd/upgrade-machine.ts';

/**
 * `agent upgrade` that gets SIGKILL before each of its steps, one after the other: each system call that changes one of its files,
 * and each start of another program. What is left must be a machine that runs, and that the next upgrade tidies.
 */

const why = whyNoSystemd() ?? (process.arch === 'x64' ? null : 'calls are traced on x86-64 only');
if (why !== null) console.log(`skipped: ${why}`);

const repository = resolve(import.meta.dirname, '../..');
const FILES = String.raw`(/usr/local/bin/\.?agent|/var/lib/comfylet-upgrade/upgrade\.json)`;
const LIMIT_MS = 60_000;
const BROKEN = '0.9.0';

interface Report {
  readonly steps: readonly string[];
  readonly killedAt: string | null;
  readonly code: number | null;
}

let lab: UpgradeMachine;
let machine: SystemdMachine;
let pids: readonly (number | null)[];

/** Runs an upgrade and ends it before that step; 0: never. */
async function upgrade(to: string, step: number, ...args: readonly string[]): Promise<Report> {
  await machine.run(['python3', '/root/kill-at-step.py', String(step), '/root/report.json', FILES, ...lab.upgradeTo(to, ...args)]);
  return JSON.parse(readFileSync(machine.at('/root/report.json'), 'utf8')) as Report;
}

/** Which of the programs is in place, whole. */
async function inPlace(): Promise<string> {
  const [digest = ''] = (await machine.must('sha256sum', TARGET)).split(' ');
  const found = ['0.1.0', '0.2.0', BROKEN].find((name) => lab.digest(name) === digest);
  if (found === undefined) throw new Error(`${TARGET} is none of the programs: ${digest}`);
  expect(statSync(machine.at(TARGET)).mode & 0o7777).toBe(0o755);
  return found;
}

/** What lies beside the program, besides the one that it replaced. */
const leftovers = (): readonly string[] =>
  readdirSync(machine.at('/usr/local/bin')).filter((name) => name.startsWith('.agent') || name === 'agent.previous.new');
/** 120 MB each. */
const brought = (): number => leftovers().filter((name) => name.startsWith('.agent')).length;
const untilServing = (version: string): Promise<true> =>
  eventually(`${version} serves`, async () => (await lab.serving()) === version, LIMIT_MS);
/** Owners, modes and flushes leave the same names with the same contents; before a program starts is after the step before. */
const matters = (step: string): boolean =>
  process.env['AGENT_TEST_ALL'] !== undefined || !/^(chown|chmod|fsync|truncate|start) |^remove .*\.new$/.test(step);
const other = (version: string): string => (version === '0.1.0' ? '0.2.0' : '0.1.0');

describe.skipIf(why !== null)('an upgrade that is killed', { timeout: 560_000 }, () => {
  beforeAll(async () => {
    lab = await anUpgradeMachine({
      programs: { '0.1.0': [], '0.2.0': [], [BROKEN]: ['--entry', join(repository, 'test/support/agent/broken-agent.ts')] },
    });
    machine = lab.machine;
    copyFileSync(join(repository, 'test/support/kills/kill-at-step.py'), machine.at('/root/kill-at-step.py'));
    pids = await lab.pids();
  }, 200_000);
  afterAll(() => lab?.close());

  let steps: readonly string[] = [];
  /** The first step after which a start of the agent finds something. */
  const announced = (): number => steps.findIndex((step) => step.startsWith('rename')) + 1;
  it('runs through when it is only watched', async () => {
    const { steps: all, code } = await upgrade('0.2.0', 0);
    expect(code).toBe(0);
    // What makes it an upgrade is among them.
    for (const words of [
      /^copy_file_range .*\.new$/,
      /^rename .*upgrade\.json$/,
      /^link /,
      /^rename .*agent\.previous$/,
      /^rename .*bin\/agent$/,
      /^a program runs$/,
    ])
      expect(all).toContainEqual(expect.stringMatching(words));
    steps = all;
  });

  it('before any step: one program is in place, whole, serves after the next start, and the instances go on', async () => {
    for (const step of steps.flatMap((each, index) => (matters(each) ? [index + 1] : []))) {
      const from = await inPlace();
      const agent = await machine.mainPid('comfylet');
      const { killedAt } = await upgrade(other(from), step);
      // One that took a step less than the first one.
      if (killedAt === null) continue;
      const at = `killed before "${killedAt}" (${step} of ${steps.length})`;
      const version = await inPlace();
      if (step < announced()) {
        expect([at, version, await lab.serving(), await machine.mainPid('comfylet')]).toEqual([at, from, from, agent]);
      } else {
        await machine.must('systemctl', 'restart', 'comfylet');
        await untilServing(version).catch((error: unknown) => {
          throw new Error(at, { cause: error });
        });
        // An upgrade that did not come to the program has nothing to prove.
        if (version === from) expect([at, existsSync(machine.at(PENDING))]).toEqual([at, false]);
      }
      expect([at, await lab.pids()]).toEqual([at, pids]);
      expect([at, brought()]).toEqual([at, Math.min(brought(), 1)]);
    }
  });

  it('on its way back: the old program comes back by itself', async () => {
    const good = await inPlace();
    const all = (await upgrade(BROKEN, 0, '--timeout', '1s')).steps;
    const restart = all.indexOf(
      'a program runs',
      all.findIndex((step) => step.endsWith(`.new ${TARGET}`)),
    );
    for (const step of all.flatMap((each, index) => (index > restart && matters(each) ? [index + 1] : []))) {
      const { killedAt } = await upgrade(BROKEN, step, '--timeout', '1s');
      const at = `killed before "${killedAt}" (${step} of ${all.length})`;
      await machine.run(['systemctl', 'restart', '--no-block', 'comfylet']);
      await eventually(`the old one is back: ${at}`, async () => (await inPlace()) === good, LIMIT_MS);
      await untilServing(good);
      expect([at, await lab.pids()]).toEqual([at, pids]);
    }
  });

  it('leaves nothing once the next upgrade is through', async () => {
    const to = other(await inPlace());
    await machine.must(...lab.upgradeTo(to));
    expect([await inPlace(), await lab.serving()]).toEqual([to, to]);
    expect(await lab.pids()).toEqual(pids);
    expect(leftovers()).toEqual([]);
    expect(readdirSync(machine.at(dirname(PENDING)))).toEqual([]);
  });
});
