/** What ComfyUI says when nodes of its own tree do not import: here that hangs on packages that are only stubs. */
const OWN_NODES =
  /^(WARNING: some comfy_extras\/ nodes|IMPORT FAILED: |This issue might be caused by new missing|Please do a: pip install)/;

/** Lines of a ComfyUI's log in a form in which two servers can be compared. */
export function logForm(text: string, replace: Readonly<Record<string, string>>): readonly string[] {
  let rest = text;
  for (const [from, to] of Object.entries(replace)) rest = rest.replaceAll(from, to);
  const lines = rest
    .split('\n')
    .map((line) => line.trimEnd())
    // Where in the program it happened is each program's own.
    .filter((line) => line !== '' && (!line.startsWith('  ') || line.includes(' seconds')) && !OWN_NODES.test(line))
    .map((line) =>
      line
        .replace(/(web root|Python version): .*/, '$1: …')
        .replace(/\d[\w.+-]*/g, 'N')
        .replace(/\s+/g, ' ')
        .trim(),
    );
  return sortedTimes(lines);
}

/** Packs that load equally fast stand in any order. */
function sortedTimes(lines: readonly string[]): readonly string[] {
  const result: string[] = [];
  let block: string[] = [];
  for (const line of [...lines, '']) {
    if (/^N seconds/.test(line)) {
      block.push(line);
      continue;
    }
    result.push(...block.sort(), line);
    block = [];
  }
  return result.slice(0, -1);
}

/** Those of `lines` that do not follow in `all` one after another, with others between them. */
export function missingIn(all: readonly string[], lines: readonly string[]): readonly string[] {
  let place = 0;
  return lines.filter((line) => {
    const found = all.indexOf(line, place);
    if (found === -1) return true;
    place = found + 1;
    return false;
  });
}
