import { readFile } from 'node:fs/promises';
import { posix } from 'node:path';
import { type Location, quickLocation } from '../plan/quick-location.ts';
import type { CliHost, Selection } from './host.ts';

const SYSTEM_FILE = '/etc/comfy-agent/agent.yaml';

/**
 * Where the agent of this command line would be. Most of the time the answer needs neither the schema nor a YAML parser;
 * when the configuration file may have a say, all of it is read.
 * @throws AgentError what reading the whole configuration may throw
 */
export async function locate(host: CliHost, selection: Selection): Promise<Location> {
  const flag = selection.flags.find(({ key }) => key === 'root')?.value;
  const rootFlag = typeof flag === 'string' ? flag : null;
  const question = { rootFlag, environment: host.environment, workingDirectory: host.workingDirectory };
  const named = selection.configFile ?? (host.environment['AGENT_CONFIG']?.trim() || null);
  const root = quickLocation({ ...question, fileText: null })?.root ?? null;
  const candidates =
    named !== null ? [posix.resolve(host.workingDirectory, named)] : [SYSTEM_FILE, ...(root === null ? [] : [`${root}/agent.yaml`])];
  const quick = root === null ? null : quickLocation({ ...question, fileText: await firstText(candidates, named !== null) });
  if (quick !== null) return quick;
  const { layout } = await host.readConfiguration(selection);
  return { root: layout.root, state: layout.state, socket: layout.socket };
}

/** Of the first file that exists; a named one that cannot be read is left to the whole reading, which says why. */
async function firstText(paths: readonly string[], isNamed: boolean): Promise<string | null> {
  for (const path of paths) {
    try {
      return await readFile(path, 'utf8');
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (isNamed || (code !== 'ENOENT' && code !== 'ENOTDIR')) return UNREADABLE;
    }
  }
  return null;
}

/** Makes the quick answer step back. */
const UNREADABLE = 'root:';
