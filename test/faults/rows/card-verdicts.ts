import { eventually } from '../../support/eventually.ts';
import { fact, others, says } from '../../support/faults/expect.ts';
import type { FaultRow } from '../../support/faults/row.ts';
import type { Scene } from '../../support/faults/scene.ts';
import { inventedPciBusId, sayToKernel } from '../../support/kernel/log.ts';

/** Faults of one card, by its sensors, by its absence, and by the kernel log. */

const SURVEY_MS = 3_000;
const control = (switches: Readonly<Record<string, string | number>>) => async (scene: Scene) => {
  scene.strike();
  await scene.smi.control(switches);
};
const unquarantine = {
  words: 'the card is in order again, and `agent unquarantine 0`',
  how: async (scene: Scene) => {
    await scene.smi.control({});
    // A card that was not read again would be quarantined once more.
    await eventually('the card is seen to be in order', async () => (await scene.instance(0)).verdicts.length === 0, 30_000);
    const lifted = await scene.agent.cli('unquarantine', '0');
    if (lifted.code !== 0) throw new Error(lifted.stderr);
  },
};
const quarantined = (says: string, reason: RegExp): FaultRow['done'] => ({
  words: says,
  events: [
    { type: 'fault.seen', target: 'instance 0', message: reason },
    { type: 'action.quarantine-instance', target: 'instance 0' },
    { type: 'instance.ready', target: 'instance 0' },
  ],
  never: [
    { type: 'action.quarantine-instance', target: 'instance 1' },
    { type: 'action.restart-instance', target: 'instance 1' },
  ],
});

const cardFault = (
  id: string,
  source: string,
  fault: string,
  switches: Readonly<Record<string, string | number>>,
  status: RegExp,
): FaultRow => ({
  id,
  source,
  fault,
  stage: 'cards',
  inject: control(switches),
  health: [
    says(0, 'not ready, with the card and its state', SURVEY_MS * 2, { ready: false }),
    says(0, 'quarantined', SURVEY_MS * 4, { status: 'quarantined', ready: false, hold: status }),
    fact('the machine serves with the other', 500, async ({ agent }) => (await agent.get('/ready')).status === 200),
  ],
  heal: unquarantine,
  done: quarantined('that card is quarantined, not the machine', status),
  untouched: [others(1)],
  back: { gpus: [0], figureMs: 10_000 },
});

const told = (id: string, source: string, fault: string, change: string, verdict: 'card-hot' | 'card-power' | 'ecc'): FaultRow => ({
  id,
  source,
  fault,
  stage: 'cards',
  inject: control({ change }),
  health: [says(0, `${verdict}, degraded and ready`, SURVEY_MS * 2, { ready: true, status: 'degraded', verdict })],
  heal: { words: 'the card is in order again', how: ({ smi }) => smi.control({}) },
  done: {
    words: 'it is told, and jobs go on',
    events: [
      { type: 'fault.seen', target: 'instance 0' },
      { type: 'fault.gone', target: 'instance 0' },
    ],
    never: [{ type: 'action.restart-instance' }, { type: 'action.quarantine-instance' }, { type: 'instance.exit' }],
  },
  untouched: [others(0, 1)],
  back: { gpus: [0, 1], figureMs: 6_000 },
});

export const cardVerdictRows: readonly FaultRow[] = [
  cardFault(
    'card-missing',
    'pm2.md 4.7, issue "card missing"',
    'a card vanishes, and what is left is numbered anew',
    { missing: 0, change: '1|index|0' },
    /is gone/,
  ),
  cardFault(
    'card-wants-a-reset',
    'issue "ECC"',
    'the driver asks for a reset of a card',
    { change: '0|gpu_recovery_action|Reset' },
    /asks for a reset/,
  ),
  cardFault(
    'card-without-spare-rows',
    'issue "ECC"',
    'a card has bad memory and no spare rows left',
    { change: '0|remapped_rows.failure|Yes;0|ecc.errors.uncorrected.volatile.total|7' },
    /no spare rows left/,
  ),
  told(
    'card-memory-replaced',
    'issue "ECC"',
    'bad memory of a card waits for a reset to be replaced',
    '0|remapped_rows.pending|Yes',
    'ecc',
  ),
  told(
    'card-hot',
    'issue "thermal"',
    'a card is too hot and slows itself down',
    '0|clocks_event_reasons.active|0x0000000000000068;0|temperature.gpu|94',
    'card-hot',
  ),
  told(
    'card-power',
    'issue "power"',
    'the power brake of a card is active',
    '0|clocks_event_reasons.active|0x0000000000000080',
    'card-power',
  ),
  {
    id: 'xid-off-the-bus',
    source: 'comfyui.md 3 "Xid", pm2.md 4.7',
    fault: 'the kernel log says that a card has fallen off the bus (Xid 79), and the same of a card that is not ours',
    stage: 'kernelLog',
    inject: async (scene) => {
      const address = inventedPciBusId();
      await scene.smi.control({ change: `0|pci.bus_id|${address.smi};0|gpu_recovery_action|[N/A]` });
      // The address is taken over with the next reading.
      await new Promise((resolve) => setTimeout(resolve, 4_000));
      sayToKernel(`NVRM: Xid (${inventedPciBusId().log}): 79, pid=1, name=python3, GPU has fallen off the bus.`);
      scene.strike();
      sayToKernel(`NVRM: Xid (${address.log}): 79, pid=1, name=python3, GPU has fallen off the bus.`);
    },
    health: [
      says(0, 'quarantined, with the Xid and its meaning', 5_000, { ready: false, hold: /Xid 79 \(the GPU has fallen off the bus\)/ }),
    ],
    heal: unquarantine,
    done: quarantined('that card is quarantined', /Xid 79/),
    untouched: [others(1)],
    back: { gpus: [0], figureMs: 10_000 },
  },
];
