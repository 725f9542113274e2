import type { Gpu, MigDevice } from '../../domain/cards/gpu.ts';
import type { Config } from '../../domain/configuration/config.ts';
import type { DesiredState } from '../../domain/state/state.ts';

type Unused = DesiredState['unused'];

export interface Usable {
  /** Cards that may have an instance; of a divided one only the MIG devices that are named. */
  readonly cards: readonly Gpu[];
  readonly unused: Unused;
  /** Cards that are asked for by name and are not here. */
  readonly absent: number;
  /** Something names the cards that may be used. */
  readonly isLimited: boolean;
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
  const limits = limitsOf(setting, found.filter(({ partOf }) => partOf === null).length);
  for (const limit of limits) {
    const { named, invalid } = select(limit, found);
    for (const { index, uuid } of cards) if (!named.has(uuid)) unused.push({ gpu: index, uuid, reason: limit.reason });
    cards = cards.filter(({ uuid }) => named.has(uuid)).map((card) => ({ ...card, ...narrowed(card, named.get(card.uuid) ?? []) }));
    for (const entry of invalid)
      warnings.push(`${limit.name}: ${entry} is no card of this machine${limit.endsAtInvalid ? ', and CUDA ends the list there' : ''}`);
    if (!limit.endsAtInvalid) absent += invalid.length;
  }
  return { cards, unused: unused.sort((a, b) => a.gpu - b.gpu), absent, isLimited: limits.length > 0, warnings };
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
  const named = new Map<string, readonly MigDevice[]>();
  const invalid: string[] = [];
  for (const entry of entries) {
    const matches = find(entry, found);
    if (matches.length === 0) {
      // The way to say "none".
      if (!(endsAtInvalid && entry === '-1')) invalid.push(entry === '' ? '""' : entry);
      if (endsAtInvalid) break;
      continue;
    }
    for (const { card, device } of matches) named.set(card.uuid, [...(named.get(card.uuid) ?? []), ...(device === null ? [] : [device])]);
  }
  return { named, invalid };
}

interface Match {
  readonly card: Gpu;
  readonly device: MigDevice | null;
}

/** By slot, by a UUID or its unmistakable beginning (of a divided card: all its parts), or by a MIG device in any of its forms. */
function find(entry: string, found: readonly Gpu[]): readonly Match[] {
  const text = entry.toLowerCase();
  const one = <T>(matches: readonly T[]): readonly T[] => (matches.length === 1 ? matches : []);
  const withParts = (card: Gpu): readonly Gpu[] => [card, ...found.filter(({ partOf }) => partOf === card.uuid)];
  if (/^\d{1,5}$/.test(text)) return one(found.filter(({ index }) => index === Number(text))).map((card) => ({ card, device: null }));
  // "0:1", as the container runtime counts: the second device of card 0.
  const [, slot, position] = /^(\d{1,5}):(\d{1,2})$/.exec(text) ?? [];
  if (slot !== undefined) {
    const cards = found.filter(({ index }) => index === Number(slot)).flatMap(withParts);
    return cards.flatMap((card) => card.migDevices.map((device) => ({ card, device }))).slice(Number(position), Number(position) + 1);
  }
  if (text.startsWith('mig-')) {
    const devices = found.flatMap((card) => card.migDevices.map((device) => ({ card, device })));
    const named = one(devices.filter(({ device }) => device.uuid.toLowerCase().startsWith(text)));
    if (named.length > 0) return named;
    // "MIG-GPU-<UUID>/<instance>/<instance>", of drivers before R470.
    const parent = /^mig-(gpu-[0-9a-f-]+)\/\d+\/\d+$/.exec(text)?.[1];
    const device = { uuid: entry, profile: null };
    return one(found.filter(({ uuid }) => uuid.toLowerCase() === parent)).map((card) => ({ card, device }));
  }
  if (!text.startsWith('gpu-') || text.length === 4) return [];
  return one(found.filter(({ uuid, partOf }) => partOf === null && uuid.toLowerCase().startsWith(text)))
    .flatMap(withParts)
    .map((card) => ({ card, device: null }));
}

/** Of a divided card those of its devices that are named; one that the driver does not list is taken at its word. */
function narrowed(card: Gpu, devices: readonly MigDevice[]): Partial<Gpu> {
  if (devices.length === 0) return {};
  const uuids = new Set(devices.map(({ uuid }) => uuid));
  const listed = card.migDevices.filter(({ uuid }) => uuids.has(uuid));
  return { migDevices: listed.length > 0 ? listed : [...devices] };
}
