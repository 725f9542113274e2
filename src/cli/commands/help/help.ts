import { AgentError } from '../../../domain/errors/errors.ts';
import { ExitCode } from '../../../domain/errors/registry.ts';
import { nearestName } from '../../../plan/text/edit-distance.ts';
import { type Command, type Context, isSet } from '../../context.ts';
import type { Verb } from '../../grammar/verb.ts';
import { verbHelp } from '../../help/show.ts';
import { errorCodeLines } from '../../help/topic-exit-codes.ts';
import { machineFacts, TOPICS, topicNames, topicText } from '../../help/topics.ts';
import { pairs } from '../../render/table.ts';

/** `agent help [verb|topic|CODE]`, `agent help --man`. */
export const help =
  (verbs: readonly Verb[]): Command =>
  async (context, [name], options) => {
    const text = isSet(options, 'man') ? await manual(verbs, name) : name === undefined ? list() : await textOf(context, verbs, name);
    if (context.json) context.printJson({ name: name ?? null, text });
    else context.print(text);
    return ExitCode.done;
  };

async function manual(verbs: readonly Verb[], name: string | undefined): Promise<string> {
  if (name !== undefined) throw new AgentError('USAGE', 'there is one manual page', { help: '`agent help --man`, without a name' });
  const { manPage } = await import('../../help/man.ts');
  return manPage(verbs);
}

const list = (): string =>
  [
    'Topics:',
    ...pairs(TOPICS.map(({ name, about }) => [`  ${name}`, about])),
    '',
    '`agent help TOPIC` shows one, `agent help VERB` is `agent VERB --help`, `agent help CODE` explains an error code,',
    '`agent help --man` writes the manual page, `agent --help` lists all verbs.',
  ].join('\n');

async function textOf({ host, selection }: Context, verbs: readonly Verb[], name: string): Promise<string> {
  const verb = verbs.find((each) => each.name === name);
  if (verb !== undefined) return verbHelp(verb, host, selection);
  const topic = TOPICS.find((each) => each.name === name);
  if (topic !== undefined) return topicText(topic, await machineFacts(host, selection));
  const lines = errorCodeLines(name);
  if (lines !== null) return lines.join('\n');
  const nearest = nearestName(name, topicNames(verbs));
  throw new AgentError('USAGE', `there is no help on "${name}"`, {
    help: `${nearest === null ? '' : `did you mean \`agent help ${nearest}\`? `}\`agent help\` lists the topics, \`agent --help\` the verbs`,
  });
}
