/** What the witness (assets/witness) writes into the log of a trial start in which it watches the imports of node packs. */

/** In the environment of a start: the witness watches. */
export const WATCH_IMPORTS = 'AGENT_WATCH_IMPORTS';

const BEGINS = /^\[agent\] node pack begins: (.+)$/;
const CLOSES = /^\[agent\] files closed by node pack: (.+)$/;
/** ComfyUI lists what it has imported, or run before that: whoever ends it later is no pack that is imported. */
const OVER = /^(?:Prestartup|Import) times for custom nodes:/;

export interface ImportCulprit {
  readonly name: string;
  readonly deed: 'ends' | 'closes files';
}

/**
 * The node pack by which a start failed, by the log of one that failed so; null: none is to blame.
 * @param packs names that there are: a line that names another one was written by somebody else
 */
export function importCulprit(log: readonly string[], packs: readonly string[]): ImportCulprit | null {
  let running: string | null = null;
  for (const line of log) {
    const closer = CLOSES.exec(line)?.[1];
    if (closer !== undefined && packs.includes(closer)) return { name: closer, deed: 'closes files' };
    const begun = BEGINS.exec(line)?.[1];
    if (begun !== undefined && packs.includes(begun)) running = begun;
    if (OVER.test(line)) running = null;
  }
  return running === null ? null : { name: running, deed: 'ends' };
}
