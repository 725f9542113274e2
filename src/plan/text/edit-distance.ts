/** Number of single-character edits (insert, delete, replace, swap of neighbours) that make `b` of `a`. */
function editDistance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      let cost = Math.min((row[j - 1] ?? 0) + 1, (last[j] ?? 0) + 1, (last[j - 1] ?? 0) + (same ? 0 : 1));
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) cost = Math.min(cost, (beforeLast[j - 2] ?? 0) + 1);
      row.push(cost);
    }
    beforeLast = last;
    last = row;
  }
  return last[b.length] ?? 0;
}

/** Longer names are no typing errors, and comparing them would be slow. */
const LONGEST_COMPARED = 100;

/**
 * The candidate that was probably meant: upper and lower case, `-` and `_` do not count, and at most one character in
 * three may differ (or `limit`). Null when nothing is near.
 */
export function nearestName(name: string, candidates: Iterable<string>, limit = Math.max(1, Math.floor(name.length / 3))): string | null {
  if (name.length > LONGEST_COMPARED) return null;
  const plain = (text: string): string => text.toLowerCase().replace(/[-_\s]/g, '');
  let best: { readonly name: string; readonly distance: number } | null = null;
  for (const candidate of candidates) {
    if (candidate.length > LONGEST_COMPARED) continue;
    const distance = editDistance(plain(name), plain(candidate));
    if (distance <= limit && (best === null || distance < best.distance)) best = { name: candidate, distance };
  }
  return best?.name ?? null;
}
