import { delimiter } from 'node:path';
import { controlFakeDriver, type FakeNvidiaSmi, installFakeDriver, installFakeNvidiaSmi, type Switches } from '../hardware/nvidia-smi.ts';

/**
 * The cards of a test's agent, said in one way. Mock cards are never read, so that they are there from the first moment and
 * for ever; a driver is asked, late, again and again, as that of a real machine: whatever depends on cards is tried with it.
 */
export type CardKind = 'mock' | 'fake driver';

export interface Cards {
  readonly count: number;
  /** Variables of the agent. */
  readonly environment: Readonly<Record<string, string>>;
  /** The section `gpu` of its configuration. */
  readonly config: Readonly<Record<string, unknown>>;
  /** null: nobody is asked. Its control keeps the number of cards unless another set is named. */
  readonly smi: FakeNvidiaSmi | null;
  readonly close: () => Promise<void>;
}

export interface DriverCards extends Cards {
  readonly smi: FakeNvidiaSmi;
}

/** Recorded sets by the number of their cards. */
const SETS: Readonly<Record<number, string>> = { 2: '580-2xl40s', 4: '580-4xl40s', 8: '580-8xl40s' };

function setOf(count: number): Switches {
  const set = SETS[count];
  if (set === undefined) throw new Error(`there is no recorded set of ${count} cards`);
  return { set };
}

export const mockCards = (count: number): Cards => ({
  count,
  environment: {},
  config: { mode: 'mock', mockCount: count },
  smi: null,
  close: async () => undefined,
});

/** By a recorded nvidia-smi. */
export async function driverCards(count = 2, switches: Switches = {}): Promise<DriverCards> {
  const set = setOf(count);
  const smi = await installFakeNvidiaSmi({ ...set, ...switches });
  return {
    count,
    smi: { ...smi, control: (next) => smi.control({ ...set, ...next }) },
    environment: { PATH: `${smi.directory}${delimiter}${process.env['PATH'] ?? '/usr/bin:/bin'}` },
    config: { mode: 'actual', queryTimeoutMs: 1_500 },
    close: smi.remove,
  };
}

export const cardsOf = async (kind: CardKind, count = 2): Promise<Cards> => (kind === 'mock' ? mockCards(count) : driverCards(count));

/** The cards of a machine under systemd. */
export interface MachineCards {
  readonly kind: CardKind;
  readonly count: number;
}

/** Lines of its agent's environment. */
export const linesOf = ({ kind, count }: MachineCards): string => (kind === 'mock' ? `MOCK_GPU=1\nNUM_GPUS=${count}\n` : '');

/** @param at paths of the machine as seen from here */
export async function putInto(at: (path: string) => string, { kind, count }: MachineCards): Promise<void> {
  if (kind === 'fake driver') await installFakeDriver(at, setOf(count));
}

/** Replaces the switches of the machine's driver. */
export const controlDriver = (at: (path: string) => string, { count }: MachineCards, switches: Switches): Promise<void> =>
  controlFakeDriver(at, { ...setOf(count), ...switches });
