import type { CardFacts } from '../../../domain/cards/card.ts';
import type { XidEvent } from '../../../domain/cards/xid.ts';
import type { Verdict } from '../../../domain/faults/verdict.ts';
import { condemnsCard, needsRecovery, recoveryOfXid, xidMeaning } from '../../cards/xid.ts';
import { type CardVerdictFacts, cardName, cardVerdict, provedAfter, twoReadings } from './input.ts';

/** How long an Xid speaks against a card whose driver does not say what is needed, and how long a notice is shown. */
export const XID_STANDS_MS = 600_000;

/** Faults of the card by the kernel log: newest of each weight. */
export function cardXid(facts: CardVerdictFacts): readonly Verdict[] {
  const { card } = facts;
  if (card === null || card.xids.length === 0) return [];
  const condemned = card.xids.findLast((xid) => condemnsCard(xid, card.xids));
  const grave = condemned === undefined ? [] : ofCard(facts, card, condemned);
  if (grave.length > 0) return grave;
  const ofOurs = ofProcess(facts, card);
  return ofOurs.length > 0 ? ofOurs : notices(facts, card);
}

const told = (xid: XidEvent): string => `Xid ${xid.code} (${xidMeaning(xid.code).meaning})`;

/** What the driver says since is heard: drivers from R565 on tell what is needed, or that nothing is. */
function ofCard(facts: CardVerdictFacts, card: CardFacts, xid: XidEvent): readonly Verdict[] {
  const gpu = card.gpu.known ? card.gpu.value : null;
  const speaks = gpu !== null && gpu.state === 'ok' && gpu.recoveryAction !== null;
  const later = card.xids.findLast((other) => other.code === 154 && other.at >= xid.at);
  const action = speaks && card.askedAt > xid.at ? gpu.recoveryAction : later === undefined ? null : recoveryOfXid(later);
  // Told by card-recovery.
  if (needsRecovery(action) && speaks && card.askedAt > xid.at) return [];
  if (action === 'none' || action === 'drain-peers') {
    const process = card.process.known ? card.process.value : null;
    if (process === null || process.startedAt > xid.at || provedAfter(facts, xid.at)) return [];
    return [
      cardVerdict('xid', xid.at, {
        reason: `${told(xid)} on ${cardName(facts)} ended what ran there; the card is well again by its driver`,
        evidence: [xid.text],
        blocksReady: true,
        remedy: 'restart',
        next: 'the instance is restarted: a new process can use the card',
      }),
    ];
  }
  if (action === null && facts.now >= xid.at + XID_STANDS_MS) return [];
  return [
    cardVerdict('xid', xid.at, {
      reason: `${told(xid)} on ${cardName(facts)}: the card is not to be trusted until it was reset`,
      evidence: card.xids.slice(-50).map(({ text }) => text),
      blocksReady: true,
      remedy: 'quarantine',
      ...(speaks ? { dueAtMs: xid.at + twoReadings(facts) } : {}),
      next: `reset the card (\`nvidia-smi -r -i ${card.uuid}\`) or reboot; the others go on. Ten minutes after the last such Xid a canary decides whether the instance is released`,
    }),
  ];
}

/** The context of our process is gone; the card is well. A child with a context of its own does not take the server along. */
function ofProcess(facts: CardVerdictFacts, card: CardFacts): readonly Verdict[] {
  const process = card.process.known ? card.process.value : null;
  if (process === null) return [];
  const mine = card.xids.filter(
    (xid) =>
      xidMeaning(xid.code).class !== 'notice' &&
      xidMeaning(xid.code).class !== 'recovery' &&
      xid.pid === process.pid &&
      xid.at >= process.startedAt,
  );
  const first = mine[0];
  if (first === undefined || provedAfter(facts, mine.at(-1)?.at ?? first.at)) return [];
  return [
    cardVerdict('xid', first.at, {
      reason: `${told(first)} on ${cardName(facts)}: the CUDA context of pid ${process.pid} is gone, every further job would fail`,
      evidence: mine.slice(0, 50).map(({ text }) => text),
      blocksReady: true,
      remedy: 'restart',
      next: 'the instance is restarted; the card itself is well',
    }),
  ];
}

/** For people: nothing is done. Killed processes leave an Xid 45 each, which says nothing. */
function notices(facts: CardVerdictFacts, card: CardFacts): readonly Verdict[] {
  const recent = card.xids.filter((xid) => xid.code !== 45 && xid.code !== 154 && facts.now < xid.at + XID_STANDS_MS);
  // Those that condemned the card were answered by its driver, those of a process by its end.
  const open = recent.filter((xid) => xidMeaning(xid.code).class !== 'card' && !ofEarlier(card, xid));
  const last = open.at(-1);
  if (last === undefined) return [];
  return [
    cardVerdict('xid', open[0]?.at ?? last.at, {
      reason: `${told(last)} was told of ${cardName(facts)}`,
      evidence: open.slice(-50).map(({ text }) => text),
      blocksReady: false,
      remedy: 'none',
      next: 'nothing is done; if it comes again, see NVIDIA’s Xid catalogue',
    }),
  ];
}

/** Of a process that another has replaced since; while it is not known which one runs, nothing is said of either. */
const ofEarlier = ({ process }: CardFacts, xid: XidEvent): boolean =>
  xidMeaning(xid.code).class === 'application' && (!process.known || (process.value !== null && process.value.startedAt >= xid.at));
