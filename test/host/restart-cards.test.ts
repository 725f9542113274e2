import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { controlDriver, type MachineCards } from '../support/agent/cards.ts';
import { eventually } from '../support/eventually.ts';
import { type SystemdMachine, whyNoSystemd } from '../support/systemd/machine.ts';
import { anUpgradeMachine, type UpgradeMachine } from '../support/systemd/upgrade-machine.ts';

/**
 * The promise of the two units: whatever becomes of the agent, its instances go on. With the cards of a driver that is asked,
 * users of their own, and prompts all the time.
 */

const why = whyNoSystemd();
if (why !== null) console.log(`skipped: no systemd can be booted here: ${why}`);

const CARDS: MachineCards = { kind: 'fake driver', count: 4 };
const LIMIT_MS = 60_000;

let lab: UpgradeMachine;
let machine: SystemdMachine;

const systemctl = (...words: readonly string[]): Promise<string> => machine.must('systemctl', ...words);
const sigterm = () => systemctl('restart', 'comfylet');
async function sigkill(): Promise<void> {
  const before = await machine.mainPid('comfylet');
  await systemctl('kill', '--kill-whom=main', '-s', 'SIGKILL', 'comfylet');
  await eventually('systemd starts another', async () => ![0, before].includes(await machine.mainPid('comfylet')), LIMIT_MS);
}
const upgrade = async () => machine.must(...lab.upgradeTo((await lab.inPlace()) === '0.1.0' ? '0.2.0' : '0.1.0'));
/** Of the agent alone: nothing of its run directory is left, as after a boot. */
async function reboot(): Promise<void> {
  await systemctl('stop', 'comfylet');
  expect(await machine.property('comfylet', 'ActiveState')).toBe('inactive');
  await systemctl('start', 'comfylet');
}
/** Upgrades take longest: there and back. */
const ROUNDS: readonly (readonly (() => Promise<unknown>)[])[] = [
  [sigterm, sigkill, reboot],
  [sigterm, sigkill, upgrade, reboot],
  [sigterm, sigkill, reboot],
  [sigterm, sigkill, reboot],
  [sigterm, sigkill, upgrade, reboot],
  [sigterm, sigkill, reboot],
];
const RESTARTS = ROUNDS.flat().length;

/** What was done to processes of instances, by the agent's journal of all its lives. */
const deeds = async (): Promise<readonly string[]> =>
  (await machine.must('journalctl', '--no-pager', '-o', 'cat', '-u', 'comfylet'))
    .split('\n')
    .filter((line) => /type=(action\.(remove-process|(stop|restart|quarantine)-instance)|instance\.exit) /.test(line));

describe.skipIf(why !== null)('the agent under systemd, with four cards and prompts all the time', { timeout: 400_000 }, () => {
  beforeAll(async () => {
    lab = await anUpgradeMachine({
      programs: { '0.1.0': [], '0.2.0': [] },
      cards: CARDS,
      environment: 'SIM_STARTUP_MS=200\nSIM_JOB_HANG_SECONDS=0.5',
    });
    machine = lab.machine;
  }, 300_000);
  afterAll(() => lab?.close());

  it(`is restarted ${RESTARTS} times by SIGTERM, SIGKILL, upgrade and reboot: no instance ends and no prompt is lost`, async () => {
    const pids = await lab.pids();
    const host = await machine.mainPid('comfylet-pm2');
    const agents = new Set<number>();
    const { done, lost } = await lab.underLoad(
      async () => {
        for (const [number, round] of ROUNDS.entries()) {
          // Without persistence mode a driver answers late.
          await controlDriver(machine.at, CARDS, number % 2 === 0 ? {} : { delay: 1 });
          for (const restart of round) {
            await restart();
            expect(await lab.pids()).toEqual(pids);
            agents.add(await machine.mainPid('comfylet'));
          }
        }
      },
      false,
      380_000,
    );
    expect(lost).toEqual([]);
    expect(done).toBeGreaterThan(RESTARTS);
    expect(agents.size).toBe(RESTARTS);
    expect(await deeds()).toEqual([]);
    expect(await lab.pids()).toEqual(pids);
    expect(await machine.mainPid('comfylet-pm2')).toBe(host);
  });
});
