import type { Observed } from '../observed.ts';
import type { Gpu } from './gpu.ts';
import type { XidEvent } from './xid.ts';

/** What can stand of a card over several looks. */
export type CardCondition = 'gone' | 'unusable' | 'hot' | 'power-brake' | 'ecc' | 'kept-after-end' | 'kept-after-free';

/** The process of an instance as its card and the kernel see it. */
export interface CardProcess {
  /** incarnationKey of the process that was looked at. */
  readonly incarnation: string;
  readonly pid: number;
  /** Epoch ms. */
  readonly startedAt: number;
  /** The process and all its children. */
  readonly pids: readonly number[];
  /** CUDA_VISIBLE_DEVICES in its environment; null: unset or unreadable. */
  readonly visibleDevices: string | null;
  /** The PM2 entry it was started from names the same devices as the one it should run: an edit of a moment ago is no fault. */
  readonly isCurrent: boolean;
  /** Starts in a row, this one included, that saw other devices than they should; 0: this one sees its own. */
  readonly wrongStarts: number;
  /** UUIDs of all cards on which one of these pids computes. */
  readonly computesOn: readonly string[];
  /** Name of the card by ComfyUI's own word; null: not asked yet, or it runs on the CPU. */
  readonly deviceName: string | null;
  /** Names of the other cards of this machine, where they differ from that of its own. */
  readonly otherNames: readonly string[];
}

/** Everything known about the card of one instance; kept by engine/cards/watch.ts, judged under plan/faults. */
export interface CardFacts {
  readonly uuid: string;
  /** Also while the card is gone. */
  readonly pciBusId: string | null;
  /** null: the driver answers, lists other cards, and not this one. Unknown: the driver does not answer, or lists no card at all. */
  readonly gpu: Observed<Gpu | null>;
  /** When the driver was asked, epoch ms. */
  readonly askedAt: number;
  /** The driver's words about this card where it cannot reach it. */
  readonly words: string | null;
  /** Of this card, in order of time, at most 50. */
  readonly xids: readonly XidEvent[];
  /** null: there is none. Unknown: it could not be looked at. */
  readonly process: Observed<CardProcess | null>;
  /** When `/free` was last asked of the instance, epoch ms; null: never of this process. */
  readonly freedAt: number | null;
  /** Since when each condition stands without a break, epoch ms. */
  readonly since: Readonly<Partial<Record<CardCondition, number>>>;
}
