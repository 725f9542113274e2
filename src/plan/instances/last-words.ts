/**
 * Lines by which a program tells why it ends: the last line of a traceback, what Python and C++ say of a fatal end, the complaint of
 * a command line.
 */
const FATAL = /^(?:Fatal Python error: |terminate called |Segmentation fault|Aborted|CUDA error: |[\w.-]+: error: )/;
const EXCEPTION = /^[A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit)(?:: |$)/;
const MARKED = /^\[?(?:ERROR|CRITICAL|FATAL)\b/;
/** What stands further up is of something else. */
const NEAR_THE_END = 20;
const KEPT_CHARACTERS = 200;

/**
 * The line of a log that tells why its program ended; null: none does.
 * @param how `status`: it ended by itself, and where nothing explains it the last line is told; `signal`: only what speaks of a fatal
 * end counts, for an error of a job before has nothing to do with it
 */
export function lastWords(lines: readonly string[], how: 'status' | 'signal'): string | null {
  const near = lines.filter((line) => line.trim() !== '').slice(-NEAR_THE_END);
  const found =
    near.findLast((line) => FATAL.test(line)) ??
    (how === 'signal' ? undefined : (near.findLast((line) => EXCEPTION.test(line) || MARKED.test(line)) ?? near.at(-1)));
  if (found === undefined) return null;
  const text = found.trim();
  return text.length > KEPT_CHARACTERS ? `${text.slice(0, KEPT_CHARACTERS - 1)}…` : text;
}
