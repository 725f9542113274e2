import { CommanderError } from 'commander';
import { createGrammar } from '../grammar/grammar.ts';
import type { Verb } from '../grammar/verb.ts';
import type { CliHost, Selection } from '../host.ts';
import { topicOfVerb } from './topics.ts';

/** What `agent <verb> --help` writes. */
export async function verbHelp(verb: Verb, host: CliHost, selection: Selection): Promise<string> {
  let text = '';
  const program = createGrammar({
    version: host.version.agent,
    verbs: [verb],
    columns: host.stdout.columns || 100,
    write: (written) => {
      text += written;
    },
    onVerb: () => undefined,
    onHelp: () => undefined,
  });
  try {
    program.parse([verb.name, '--help'], { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
  }
  return text + (await topicOfVerb(verb.name, host, selection));
}
