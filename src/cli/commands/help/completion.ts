import { ExitCode } from '../../../domain/errors/registry.ts';
import { findAgent } from '../../client/connect.ts';
import { completionModel } from '../../completion/model.ts';
import type { Command } from '../../context.ts';
import type { Verb } from '../../grammar/verb.ts';
import { pause } from '../../interrupt.ts';

/** `agent completion bash|zsh|fish`: a script on stdout. */
export const completion =
  (verbs: readonly Verb[]): Command =>
  async (context, [shell]) => {
    const { topicNames } = await import('../../help/topics.ts');
    const model = completionModel(verbs, topicNames(verbs));
    context.print(await scripts[shell === 'zsh' || shell === 'fish' ? shell : 'bash'](model));
    return ExitCode.done;
  };

const scripts = {
  bash: async (model: ReturnType<typeof completionModel>) => (await import('../../completion/bash.ts')).bashCompletion(model),
  zsh: async (model: ReturnType<typeof completionModel>) => (await import('../../completion/zsh.ts')).zshCompletion(model),
  fish: async (model: ReturnType<typeof completionModel>) => (await import('../../completion/fish.ts')).fishCompletion(model),
};

/** Somebody waits at a prompt with a finger on the tab key. */
const PATIENCE_MS = 800;

/** `agent __complete gpus|releases`: names from the running agent, one a line; nothing, and no word, when there is trouble. */
export const complete: Command = async (context, [what]) => {
  const tooLate = pause(PATIENCE_MS, new AbortController().signal).then(() => []);
  const silent = { ...context, warn: () => undefined, note: () => undefined };
  const found = await Promise.race([names(silent, what === 'releases'), tooLate]).catch(() => []);
  if (found.length > 0) context.print(found);
  return ExitCode.done;
};

async function names(context: Parameters<Command>[0], ofReleases: boolean): Promise<readonly string[]> {
  const connection = await findAgent(context);
  if (connection === null) return [];
  const { agent } = connection;
  if (ofReleases) return (await agent.releases()).releases.map(({ id }) => id);
  return (await agent.instances()).instances.map(({ gpu }) => String(gpu));
}
