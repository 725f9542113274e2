import { AgentError } from '../../domain/errors/errors.ts';
import type { Instruction } from '../../domain/files/foreign.ts';
import type { Files } from '../../ports/files.ts';

/**
 * The only way to a file that is obeyed. What the user of ComfyUI could have written is not.
 * @param changes what it would change, in words, for whoever is to decide
 * @throws AgentError INPUT_UNTRUSTED with the command that accepts it, INPUT_REFUSED, FILE_UNREADABLE
 */
export async function readTrusted(
  files: Pick<Files, 'readInstruction'>,
  path: string,
  maxBytes: number,
  changes: (text: string) => string | null = () => null,
): Promise<Instruction | null> {
  const found = await files.readInstruction(path, { maxBytes });
  if (found === null || found.distrust === null) return found;
  const { why, remedy } = found.distrust;
  const change = changes(found.text);
  throw new AgentError(
    'INPUT_UNTRUSTED',
    `${path} (of ${found.owner}) is not obeyed: ${why}${change === null ? '' : `; it would change: ${change}`}`,
    {
      help: `read it; if it says what you want, type: ${remedy}`,
      details: { path, owner: found.owner },
    },
  );
}
