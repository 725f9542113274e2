/** What ComfyUI's log says about the node packs of its last start (reference comfyui.md section 3). */
export interface ImportReport {
  readonly loaded: readonly string[];
  readonly failed: readonly { readonly name: string; readonly error: string | null }[];
}

const TIMES_HEADER = 'Import times for custom nodes:';
const TIME_LINE = /^\s*(\d+\.\d+) seconds( \(IMPORT FAILED\))?: (.+)$/;
const CANNOT_IMPORT = /^Cannot import (.+?) module for custom nodes: (.*)$/;
const baseName = (path: string): string =>
  path
    .replace(/(?<!\/)\/+$/, '')
    .split('/')
    .at(-1) ?? path;

/**
 * Reads the newest "Import times" block: the only reliable list of packs, because no HTTP route names a failed one.
 * @returns null when there is no such block
 */
export function parseImportReport(lines: readonly string[]): ImportReport | null {
  const header = lines.findLastIndex((line) => line.includes(TIMES_HEADER));
  if (header < 0) return null;
  const errors = new Map<string, string>();
  for (const line of lines.slice(0, header)) {
    const match = CANNOT_IMPORT.exec(line.trim());
    if (match?.[1] !== undefined) errors.set(baseName(match[1]), match[2] ?? '');
  }
  const loaded: string[] = [];
  const failed: { name: string; error: string | null }[] = [];
  for (const line of lines.slice(header + 1)) {
    const match = TIME_LINE.exec(line);
    if (match?.[3] === undefined) break;
    const name = baseName(match[3]);
    if (match[2] === undefined) loaded.push(name);
    else failed.push({ name, error: errors.get(name) ?? null });
  }
  return { loaded, failed };
}
