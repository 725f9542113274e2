import { Config } from '../../domain/configuration/config.ts';
import { layoutOf } from '../../plan/configuration/layout.ts';
import { configurationFile } from '../../plan/configuration/location.ts';
import type { Verb } from '../grammar/verb.ts';
import type { CliHost, Selection } from '../host.ts';
import { flow, type Topic, type TopicFacts } from './topic.ts';
import { exitCodes } from './topic-exit-codes.ts';
import { configuration, environment, files } from './topics-machine.ts';
import { health, releases, ssh, systemd } from './topics-operation.ts';

/** Every topic of `agent help`, in the order of its list. */
export const TOPICS: readonly Topic[] = [exitCodes, environment, configuration, files, health, releases, ssh, systemd];

/** Lines that are longer are hard to read. */
const WIDTH = 100;

/** What `agent help` takes besides error codes. */
export const topicNames = (verbs: readonly Verb[]): readonly string[] => [
  ...new Set([...TOPICS.map(({ name }) => name), ...verbs.filter(({ hidden }) => hidden !== true).map(({ name }) => name)]),
];

/** What would be true where nothing is configured. */
export function defaultFacts(columns: number): TopicFacts {
  const candidates = configurationFile({ flag: null, root: null, environment: {}, workingDirectory: '/' }).map(({ path }) => path);
  return { layout: layoutOf(Config.parse({})), file: null, candidates, columns };
}

/** Of this machine; a configuration that cannot be read is no reason to be without help. */
export async function machineFacts(host: CliHost, selection: Selection): Promise<TopicFacts> {
  const columns = Math.min(host.stdout.columns || WIDTH, WIDTH);
  const root = selection.flags.find(({ key }) => key === 'root')?.value;
  const question = {
    flag: selection.configFile,
    root: typeof root === 'string' ? root : null,
    environment: host.environment,
    workingDirectory: host.workingDirectory,
  };
  const candidates = configurationFile(question).map(({ path }) => path);
  try {
    const { layout, file } = await host.readConfiguration(selection);
    return { layout, file, candidates, columns };
  } catch {
    return { ...defaultFacts(columns), candidates };
  }
}

/** The text of the topic that has the name of a verb, for below the help of that verb; empty when there is none. */
export async function topicOfVerb(verb: string, host: CliHost, selection: Selection): Promise<string> {
  const topic = TOPICS.find(({ name }) => name === verb);
  return topic === undefined ? '' : `\n${topicText(topic, await machineFacts(host, selection))}`;
}

export const topicText = ({ name, about, lines }: Topic, facts: TopicFacts): string =>
  `${[`${name}: ${about}`, '', ...flow(lines(facts), facts.columns)].join('\n')}\n`;
