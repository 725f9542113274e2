import type { Config } from '../../domain/config.ts';
import type { Gpu } from '../../domain/gpu.ts';
import type { DesiredState } from '../../domain/state.ts';

type Unused = DesiredState['unused'];

export interface Usable {
  /** Cards that may have an instance; of a divided one only the MIG devices that are named. */
  readonly cards: readonly Gpu[];
  readonly unused: Unused;
  /** Cards that are asked for by name and are not here. */
  readonly absent: number;
  readonly warnings: readonly string[];
}

/** A wish that leaves cards out. */
interface Limit {
  /** "CUDA_VISIBLE_DEVICES=2,3" */
  readonly name: string;
  readonly entries: readonly string[];
  /** CUDA ends its list at the first entry that is no device; others are only told. */
  readonly endsAtInvalid: boolean;
  readonly reason: string;
}

/**
 * Which cards the agent may use: what it was given in its environment and what `gpu.cards` names, each narrowing the one
 * before. Numbers are slots, as `agent gpus` shows them: the driver's own change when a card goes, and the next would be
 * that of somebody else.
 */
export function usableCards(setting: Config['gpu'], found: readonly Gpu[]): Usable {
  let cards = found;
  const unused: Unused[number][] = [];
  const warnings: string[] = [];
  let absent = 0;
  for (const limit of limitsOf(setting, found.length)) {
    const { named, invalid } = select(limit, found);
    for (const { index, uuid } of cards) if (!named.has(uuid)) unused.push({ gpu: index, uuid, reason: limit.reason });
    cards = cards.filter(({ uuid }) => named.has(uuid)).map((card) => ({ ...card, ...narrowed(card, named.get(card.uuid) ?? []) }));
    for (const entry of invalid)
      warnings.push(`${limit.name}: ${entry} is no card of this machine${limit.endsAtInvalid ? ', and CUDA ends the list there' : ''}`);
    if (!limit.endsAtInvalid) absent += invalid.length;
  }
  return { cards, unused: unused.sort((a, b) => a.gpu - b.gpu), absent, warnings };
}

function limitsOf({ cards, cudaVisibleDevices, nvidiaVisibleDevices }: Config['gpu'], found: number): readonly Limit[] {
  const limits: Limit[] = [];
  const nvidia = nvidiaVisibleDevices?.trim() ?? '';
  const ofRuntime = byComma(nvidia);
  // "void" and nothing: the container runtime takes no part. Numbers are those of the host: where no more cards are here than
  // are named, it has taken the others away already, and what is left is numbered anew.
  const isApplied = ofRuntime.every((entry) => /^\d+$/.test(entry)) && found <= ofRuntime.length;
  if (!/^(all|void|)$/i.test(nvidia) && !isApplied) {
    const entries = /^none$/i.test(nvidia) ? [] : ofRuntime;
    limits.push(limitOf(`NVIDIA_VISIBLE_DEVICES=${nvidia}`, entries, false));
  }
  if (cudaVisibleDevices !== null)
    limits.push(limitOf(`CUDA_VISIBLE_DEVICES=${cudaVisibleDevices.trim()}`, byComma(cudaVisibleDevices), true));
  if (cards !== null) limits.push(limitOf('gpu.cards', cards.map(String), false));
  return limits;
}

const limitOf = (name: string, entries: readonly string[], endsAtInvalid: boolean): Limit => ({
  name,
  entries,
  endsAtInvalid,
  reason: entries.length === 0 ? `${name} names no card at all` : `${name} leaves it out`,
});

const byComma = (text: string): readonly string[] => (text.trim() === '' ? [] : text.split(',').map((part) => part.trim()));

/** The named cards by UUID, each with the MIG devices that are named (none: all of them), and entries that name nothing. */
function select({ entries, endsAtInvalid }: Limit, found: readonly Gpu[]) {
  const named = new Map<string, readonly string[]>();
  const invalid: string[] = [];
  for (const entry of entries) {
    const one = find(entry, found);
    if (one === null) {
      // The way to say "none".
      if (!(endsAtInvalid && entry === '-1')) invalid.push(entry === '' ? '""' : entry);
      if (endsAtInvalid) break;
      continue;
    }
    named.set(one.card.uuid, [...(named.get(one.card.uuid) ?? []), ...(one.device === null ? [] : [one.device])]);
  }
  return { named, invalid };
}

/** By slot, by a UUID or its unmistakable beginning, or by a MIG device in either of its forms. */
function find(entry: string, found: readonly Gpu[]): { readonly card: Gpu; readonly device: string | null } | null {
  const text = entry.toLowerCase();
  const one = <T>(matches: readonly T[]): T | null => (matches.length === 1 ? (matches[0] ?? null) : null);
  if (/^\d{1,5}$/.test(text)) {
    const card = one(found.filter(({ index }) => index === Number(text)));
    return card === null ? null : { card, device: null };
  }
  if (text.startsWith('mig-')) {
    const devices = found.flatMap((card) => card.migDevices.map((device) => ({ card, device })));
    const device = one(devices.filter((each) => each.device.toLowerCase().startsWith(text)));
    if (device !== null) return device;
    // "MIG-GPU-<UUID>/<instance>/<instance>", of drivers before R470.
    const parent = /^mig-(gpu-[0-9a-f-]+)\/\d+\/\d+$/.exec(text)?.[1];
    const card = one(found.filter(({ uuid }) => uuid.toLowerCase() === parent));
    return card === null ? null : { card, device: entry };
  }
  const card = text.startsWith('gpu-') && text.length > 4 ? one(found.filter(({ uuid }) => uuid.toLowerCase().startsWith(text))) : null;
  return card === null ? null : { card, device: null };
}

const narrowed = (card: Gpu, devices: readonly string[]): Partial<Gpu> =>
  devices.length === 0
    ? {}
    : {
        migDevices: card.migDevices.some((device) => devices.includes(device))
          ? card.migDevices.filter((device) => devices.includes(device))
          : [...devices],
      };
