/** Levels of objects and lists in what comes in: more than people write, far less than the stack holds. */
export const MAX_DEPTH = 64;

/** Whether a value is nested deeper than that, or holds itself. Level by level: the depth is not ours to recurse into. */
export function isTooDeep(value: unknown): boolean {
  let level: readonly object[] = [value].filter(isContainer);
  for (let depth = 1; level.length > 0; depth++) {
    if (depth > MAX_DEPTH) return true;
    // What stands twice on a level is looked into once, or aliases would double it with each.
    level = [...new Set(level.flatMap((each) => Object.values(each).filter(isContainer)))];
  }
  return false;
}

const isContainer = (value: unknown): value is object => typeof value === 'object' && value !== null;
