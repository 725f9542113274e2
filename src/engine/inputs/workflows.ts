import { asAgentError } from '../../domain/errors/errors.ts';
import { INPUT_LIMITS } from '../../domain/files/foreign.ts';
import type { Files } from '../../ports/files.ts';
import { parseJson } from '../state/files.ts';
import { readTrusted } from './instructions.ts';

/** The graphs in workflows/, by name, and why others are not read. */
export async function readWorkflows(
  files: Files,
  directory: string,
): Promise<{ readonly graphs: readonly { readonly name: string; readonly graph: unknown }[]; readonly warnings: readonly string[] }> {
  const graphs: { name: string; graph: unknown }[] = [];
  const warnings: string[] = [];
  for (const name of (await files.list(directory)).filter((each) => each.endsWith('.json')).sort()) {
    try {
      const found = await readTrusted(files, `${directory}/${name}`, INPUT_LIMITS.workflow);
      const graph = parseJson(found?.text ?? '');
      if (graph === undefined) warnings.push(`workflows/${name} is no JSON and was not read`);
      else graphs.push({ name, graph });
    } catch (error) {
      const { message, help } = asAgentError(error);
      warnings.push(`${message} (${help})`);
    }
  }
  return { graphs, warnings };
}
