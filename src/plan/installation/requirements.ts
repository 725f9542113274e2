import type { AskedLine } from '../../domain/installation/requirement-conflict.ts';

/**
 * Which packs' requirements can live together. The resolver is asked by the engine; here is only the choice of the next
 * question, replayed from the answers so far:
 *
 *     for (let next = nextTrial(labels, trials); !next.done; next = nextTrial(labels, trials)) trials.push(await ask(next.labels))
 *
 * Once some packs do not fit, no larger set with them fits either; so a pack is rejected only after a trial failed in
 * which it was the only addition to packs that were accepted before.
 */

export interface Trial {
  readonly labels: readonly string[];
  /** null: it resolved. `labels`: the packs that the resolver's explanation names. */
  readonly failure: TrialFailure | null;
}

export interface TrialFailure {
  readonly labels: readonly string[];
  readonly reason: string;
  /** The lines that the explanation names. */
  readonly asked?: readonly AskedLine[];
}

export interface RejectedPack extends Pick<TrialFailure, 'reason' | 'asked'> {
  readonly label: string;
}

export type NextTrial =
  | { readonly done: false; readonly labels: readonly string[] }
  | {
      readonly done: true;
      readonly accepted: readonly string[];
      readonly rejected: readonly RejectedPack[];
    };

/**
 * The next set of packs to resolve together, or the outcome. All at once first; on failure the packs named as suspects
 * are set aside and tried on top of the rest, a few one by one, many by halves; a failure that names nobody halves the
 * set. Earlier labels win over later ones. From what is rejected in the end none can be spared. ComfyUI's own requirements belong to every trial and are not among the labels.
 */
export function nextTrial(labels: readonly string[], trials: readonly Trial[]): NextTrial {
  const accepted = new Set<string>();
  const rejected: RejectedPack[] = [];
  const groups: string[][] = labels.length === 0 ? [] : [[...new Set(labels)]];
  let answered = 0;
  for (let group = groups.shift(); group !== undefined; group = groups.shift()) {
    const added = new Set(group);
    const tried = [...new Set(labels)].filter((label) => accepted.has(label) || added.has(label));
    const trial = trials[answered++];
    if (trial === undefined) return { done: false, labels: tried };
    if (trial.failure === null) {
      for (const label of group) accepted.add(label);
      continue;
    }
    const [only] = group;
    if (group.length === 1 && only !== undefined) {
      const { reason, asked } = trial.failure;
      rejected.push({ label: only, reason, ...(asked === undefined ? {} : { asked }) });
      continue;
    }
    groups.unshift(...split(group, new Set(trial.failure.labels)));
  }
  const inOrder = [...new Set(labels)];
  return {
    done: true,
    accepted: inOrder.filter((label) => accepted.has(label)),
    rejected: rejected.sort((a, b) => inOrder.indexOf(a.label) - inOrder.indexOf(b.label)),
  };
}

/** So many are tried one by one; of more, most are innocent. */
const FEW = 3;

function split(group: readonly string[], named: ReadonlySet<string>): string[][] {
  const suspects = group.filter((label) => named.has(label));
  const others = group.filter((label) => !named.has(label));
  if (suspects.length > 0 && others.length > 0)
    return [others, ...(suspects.length <= FEW ? suspects.map((label) => [label]) : halves(suspects))];
  return halves(group);
}

function halves(group: readonly string[]): string[][] {
  const middle = Math.ceil(group.length / 2);
  return [group.slice(0, middle), group.slice(middle)];
}
