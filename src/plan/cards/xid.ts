import { type RecoveryAction, recoveryActionOf } from '../../domain/cards/gpu.ts';
import type { XidEvent } from '../../domain/cards/xid.ts';

/**
 * What an Xid means for an instance. Facts from NVIDIA's catalogue for Ampere and later,
 * https://docs.nvidia.com/deploy/xid-errors/analyzing-xid-catalog.html (read 2026); `immediate` is its word for what is to be
 * done at once.
 *
 * - `application`: the context of that process is gone, the card is well: a new process is needed.
 * - `card`: the card must be reset, or the machine started again, before anything can use it.
 * - `recovery`: the driver says itself what is needed (154); the word is in its text.
 * - `notice`: told, and nothing follows from it alone.
 */
export type XidClass = 'application' | 'card' | 'recovery' | 'notice';

export interface XidMeaning {
  readonly class: XidClass;
  readonly meaning: string;
  readonly immediate: string;
}

const entry = (kind: XidClass, immediate: string, meaning: string): XidMeaning => ({ class: kind, meaning, immediate });

const named: ReadonlyMap<number, XidMeaning> = new Map([
  [8, entry('application', 'RESTART_APP', 'the GPU stopped processing')],
  [13, entry('application', 'RESTART_APP', 'graphics engine exception')],
  [31, entry('application', 'RESTART_APP', 'GPU memory page fault')],
  [32, entry('application', 'RESTART_APP', 'corrupted push buffer stream')],
  // The catalogue says IGNORE since the card is well; the process "must terminate".
  [43, entry('application', 'IGNORE', 'the process hit a software fault and its work was stopped')],
  // Comes with every process that is killed, ours too: only a process that still runs is concerned.
  [45, entry('application', 'WORKFLOW_XID_45', 'the work of the process was removed after an earlier error')],
  [46, entry('card', 'RESET_GPU', 'the GPU stopped processing')],
  [48, entry('card', 'WORKFLOW_XID_48', 'double bit ECC error')],
  [54, entry('card', 'CHECK_MECHANICALS', 'auxiliary power is not connected')],
  // "Unused" in the present catalogue; in the one for Volta and older an error of the micro-controller.
  [61, entry('card', 'CONTACT_SUPPORT', 'internal micro-controller breakpoint')],
  [62, entry('card', 'RESET_GPU', 'internal micro-controller halt')],
  [63, entry('notice', 'IGNORE', 'a memory row or page is retired')],
  [64, entry('card', 'RESET_GPU', 'a memory row or page could not be retired')],
  [69, entry('application', 'RESTART_APP', 'graphics engine class error')],
  // Links between cards: an instance has one card and uses none.
  [74, entry('notice', 'WORKFLOW_NVLINK_ERR', 'NVLink error')],
  [79, entry('card', 'RESTART_BM', 'the GPU has fallen off the bus')],
  [92, entry('notice', 'IGNORE', 'high rate of single-bit ECC errors')],
  [94, entry('application', 'RESTART_APP', 'contained memory error')],
  [95, entry('card', 'RESET_GPU', 'uncontained memory error')],
  [109, entry('card', 'RESET_GPU', 'context switch timeout')],
  [110, entry('card', 'RESET_GPU', 'security fault')],
  [119, entry('card', 'RESET_GPU', 'the GPU system processor does not answer')],
  [120, entry('card', 'RESET_GPU', 'error of the GPU system processor')],
  [136, entry('notice', 'RESET_GPU', 'link training failed')],
  [140, entry('card', 'RESET_GPU', 'unrecovered ECC error')],
  [143, entry('card', 'RESET_GPU', 'GPU initialization error')],
  [151, entry('card', 'RESTART_VM', 'key rotation error')],
  [154, entry('recovery', 'XID_154', 'the recovery action changed')],
  [155, entry('notice', 'RESET_GPU', 'NVLink error')],
  [156, entry('card', 'RESET_GPU', 'a resource was retired')],
  [158, entry('card', 'RESET_GPU', 'fatal timeout')],
  [171, entry('notice', '', 'uncorrectable DRAM error')],
  [172, entry('notice', '', 'uncorrectable SRAM error')],
]);

/** Exceptions of the copy, video, JPEG and optical flow engines, all RESTART_APP. */
const engines: readonly (readonly [number, number])[] = [
  [11, 11],
  [25, 25],
  [39, 41],
  [60, 60],
  [68, 68],
  [70, 72],
  [75, 77],
  [80, 80],
  [82, 86],
  [88, 89],
  [96, 105],
  [126, 135],
  [139, 139],
];

/** Every code has a meaning: one that the catalogue of this program lacks is a notice. */
export function xidMeaning(code: number): XidMeaning {
  const known = named.get(code);
  if (known !== undefined) return known;
  if (engines.some(([first, last]) => code >= first && code <= last)) return entry('application', 'RESTART_APP', 'exception of an engine');
  return entry('notice', '', 'not in the catalogue of this agent');
}

/** Two Xids of one event: the driver tells them within a moment. */
const TOGETHER_MS = 60_000;

/**
 * Whether this one asks for more than a new process. A double bit error that was contained (94, and no 95 beside it) hit one
 * process only; 154 asks for what it says.
 */
export function condemnsCard(xid: XidEvent, all: readonly XidEvent[]): boolean {
  const { class: kind } = xidMeaning(xid.code);
  if (kind === 'recovery') return needsRecovery(recoveryOfXid(xid));
  if (kind !== 'card') return false;
  const beside = (code: number): boolean => all.some((other) => other.code === code && Math.abs(other.at - xid.at) <= TOGETHER_MS);
  return !(xid.code === 48 && beside(94) && !beside(95));
}

/** What 154 says is needed now: "GPU recovery action changed from 0x0 (None) to 0x1 (GPU Reset Required)". */
export const recoveryOfXid = (xid: XidEvent): RecoveryAction | null =>
  xid.code === 154 ? recoveryActionOf(/\bto\s+0x[0-9a-f]+\s*\(([^)]*)\)/i.exec(xid.text)?.[1] ?? '') : null;

/** Whether a card in this state can be used. Draining peers concerns NVLink between cards; instances have one card each. */
export const needsRecovery = (action: RecoveryAction | null): boolean =>
  action === 'reset' || action === 'reboot' || action === 'drain-and-reset';
