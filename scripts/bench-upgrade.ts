import { setTimeout as pause } from 'node:timers/promises';
import type { UpgradeDocument } from '../src/domain/host/upgrade.ts';
import type { MachineCards } from '../test/support/agent/cards.ts';
import { eventually } from '../test/support/eventually.ts';
import { whyNoSystemd } from '../test/support/systemd/machine.ts';
import { anUpgradeMachine, type UpgradeMachine } from '../test/support/systemd/upgrade-machine.ts';
import { median } from './measures.ts';

/**
 * What the single file does under a real systemd, with four instances of the simulator: an upgrade with prompts all the time, the
 * start of the agent, and a whole boot. As root: `node scripts/bench-upgrade.ts`; with BENCH_CARDS=mock without a driver that is
 * asked for the cards. Each figure is the median of some runs; what it must be is in docs/figures.md.
 */

const RUNS = Number(process.env['BENCH_RUNS'] ?? '5');
/** Only figures whose words match. */
const WANTED = new RegExp(process.env['BENCH_FIGURES'] ?? '');
const GPUS = 4;
const CARDS: MachineCards = { kind: process.env['BENCH_CARDS'] === 'mock' ? 'mock' : 'fake driver', count: GPUS };
const STARTUP_MS = 3_000;
const LIMIT_MS = 60_000;
/** Every instance works all the time without using a processor, as with a real card. */
const BUSY = `SIM_STARTUP_MS=${STARTUP_MS}\nSIM_JOB_HANG_SECONDS=0.2`;

const LOST = 'agent upgrade under load: prompts lost';
const RESTARTED = 'agent upgrade under load: instances restarted';
const AWAY = 'agent upgrade under load: control API away';
const START = 'systemctl start comfylet to GET /health 200';
const BOOT = `boot to all ${GPUS} instances healthy, minus own start`;

const rows: string[] = [];
function record(what: string, values: readonly number[], unit: string, goal: number): void {
  if (!WANTED.test(what)) return;
  const value = median(values);
  const shown = (each: number): string => (unit === '' ? String(each) : each.toFixed(2));
  const line = `| ${what} | ${shown(value)} ${unit} (${values.map(shown).join(', ')}) | at most ${goal} ${unit} | ${value <= goal ? 'met' : '**missed**'} |`;
  rows.push(line);
  console.log(line);
}
const worst = (values: readonly number[]): readonly number[] => [Math.max(...values)];

/** Asks all the time until it is ended. @returns for how long nobody answered, at the longest, in ms */
function watchAway({ machine }: UpgradeMachine): { end(): Promise<number> } {
  let over = false;
  const watched = (async () => {
    let [last, longest] = [performance.now(), 0];
    while (!over) {
      const answers = await machine.get('/health').then(
        () => true,
        () => false,
      );
      const now = performance.now();
      if (answers) {
        longest = Math.max(longest, now - last);
        last = now;
      }
      await pause(5);
    }
    return longest;
  })();
  return {
    end: () => {
      over = true;
      return watched;
    },
  };
}

async function upgrades(lab: UpgradeMachine): Promise<void> {
  const [lost, restarted, away, told, done]: [number[], number[], number[], number[], number[]] = [[], [], [], [], []];
  for (let run = 0; run < RUNS; run++) {
    const to = (await lab.inPlace()) === '0.1.0' ? '0.2.0' : '0.1.0';
    const watch = watchAway(lab);
    const stream = await lab.underLoad(async () => JSON.parse(await lab.machine.must(...lab.upgradeTo(to, '--json'))) as UpgradeDocument);
    away.push((await watch.end()) / 1_000);
    told.push((stream.result.awayMs ?? 0) / 1_000);
    lost.push(stream.lost.length);
    done.push(stream.done);
    restarted.push(stream.result.instances?.restarted.length ?? GPUS);
  }
  console.log(`${done.join(', ')} prompts done; away as the command tells it: ${told.map((each) => each.toFixed(2)).join(', ')} s`);
  record(LOST, worst(lost), '', 0);
  record(RESTARTED, worst(restarted), '', 0);
  record(AWAY, away, 's', 1);
}

const isHealthy = ({ machine }: UpgradeMachine): Promise<boolean> =>
  machine.get('/health').then(
    ({ status }) => status === 200,
    () => false,
  );

/** What the journal tells of a start, in order. */
const STAGES = [/ Starting comfylet/, / agent \S+ starts on /, / serving /, / -> healthy /];

/** Seconds from each stage of the last start to the next one. */
async function stagesOf({ machine }: UpgradeMachine): Promise<readonly number[]> {
  const lines = (await machine.must('journalctl', '--no-pager', '-o', 'short-monotonic', '-u', 'comfylet', '-n', '60')).split('\n');
  const at = STAGES.map((stage) => Number(/^\[\s*([\d.]+)\]/.exec(lines.findLast((line) => stage.test(line)) ?? '')?.[1]));
  return at.slice(1).map((each, index) => each - (at[index] ?? Number.NaN));
}

async function starts(lab: UpgradeMachine): Promise<void> {
  const times: number[] = [];
  const stages: (readonly number[])[] = [];
  for (let run = 0; run < RUNS * 2; run++) {
    await lab.pids();
    await lab.machine.must('systemctl', 'stop', 'comfylet');
    await pause(500);
    const began = performance.now();
    const started = lab.machine.must('systemctl', 'start', 'comfylet');
    await eventually('health is served', () => isHealthy(lab), LIMIT_MS);
    times.push((performance.now() - began) / 1_000);
    await started;
    await lab.pids();
    stages.push(await stagesOf(lab));
  }
  const parts = ['program', 'listening', 'instances seen'].map((name, index) => {
    const value = median(stages.map((each) => each[index] ?? Number.NaN));
    return `${name} ${value.toFixed(2)}`;
  });
  console.log(`of a start, in s: ${parts.join(', ')}`);
  record(START, times, 's', 0.5);
}

const OWN_START = `
import glob, os, subprocess, sys, tempfile, time, urllib.request
root = os.path.realpath("/workspace/current")
began = time.monotonic()
child = subprocess.Popen(
    [root + "/venv/bin/python", "-u", "main.py", "--cpu", "--port", "8999", "--temp-directory", tempfile.mkdtemp()],
    cwd=root + "/ComfyUI", env={**os.environ, "SIM_STARTUP_MS": "${STARTUP_MS}"}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
while True:
    try:
        urllib.request.urlopen("http://127.0.0.1:8999/prompt", timeout=1).read()
        break
    except OSError:
        time.sleep(0.005)
print(time.monotonic() - began)
child.kill()
`;

async function boots(lab: UpgradeMachine): Promise<void> {
  const { machine } = lab;
  const environment = '/etc/comfylet/agent.env';
  await machine.write(environment, (await machine.must('cat', environment)).replace(/SIM_JOB.*\n/, ''));
  await machine.write('/root/own-start.py', OWN_START);
  const owns: number[] = [];
  for (let run = 0; run < 3; run++) owns.push(Number(await machine.must('python3', '/root/own-start.py')));
  const own = median(owns);
  const times: number[] = [];
  const before: number[] = [];
  for (let run = 0; run < RUNS; run++) {
    await machine.powerOff();
    const [began, beganNs] = [performance.now(), process.hrtime.bigint()];
    await machine.boot(false);
    await eventually(
      'all are healthy',
      async () => {
        const instances = await machine.instances();
        return instances.length === GPUS && instances.every(({ ready }) => ready);
      },
      LIMIT_MS,
    );
    times.push((performance.now() - began) / 1_000 - own);
    // Both clocks are the kernel's since its start.
    const unit = Number(await machine.property('comfylet', 'InactiveExitTimestampMonotonic'));
    before.push(unit / 1e6 - Number(beganNs) / 1e9);
  }
  console.log(`own start ${own.toFixed(2)} s; systemd until it starts the agent: ${before.map((each) => each.toFixed(2)).join(', ')} s`);
  record(BOOT, times, 's', 2);
}

const why = whyNoSystemd();
if (why !== null) throw new Error(`no systemd can be booted here: ${why}`);
const lab = await anUpgradeMachine({
  programs: { '0.1.0': [], '0.2.0': [] },
  cards: CARDS,
  environment: BUSY,
  compiled: true,
});
try {
  if ([LOST, RESTARTED, AWAY].some((what) => WANTED.test(what))) await upgrades(lab);
  if (WANTED.test(START)) await starts(lab);
  if (WANTED.test(BOOT)) await boots(lab);
} finally {
  await lab.close();
}
console.log(`\ncards: ${CARDS.kind}\n\n| figure | measured (each run) | goal | |\n|---|---|---|---|\n${rows.join('\n')}`);
