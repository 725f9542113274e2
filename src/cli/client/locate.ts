import { accessSync } from 'node:fs';
import { posix } from 'node:path';
import { SYSTEM_FILE, SYSTEM_RUN } from '../../domain/configuration/access.ts';
import { socketOf } from '../../plan/configuration/layout.ts';
import { DEFAULT_ROOT, type Location, quickLocation } from '../../plan/configuration/quick-location.ts';
import type { CliHost, Selection } from '../host.ts';
import { plainText } from './plain-text.ts';

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
  if (quick !== null) return ofSystem(quick);
  try {
    const { layout } = await host.readConfiguration(selection);
    return await ofSystem({ root: layout.root, state: layout.state, socket: layout.socket });
  } catch (error) {
    // The file may refer to variables that only the service has, or be a bad edit that the running agent did not take.
    if (named !== null || rootFlag !== null) throw error;
    const running = attempt(toldBySystem);
    if (running === null) throw error;
    return running;
  }
}

const attempt = <T>(ask: () => T): T | null => {
  try {
    return ask();
  } catch {
    return null;
  }
};

/** What the machine's agent wrote about itself; null: nothing of use. @throws of the file system */
function toldBySystem(): Location | null {
  const told = JSON.parse(plainText(`${SYSTEM_RUN}/agent.json`)) as Partial<Location> | null;
  const { root, state, socket } = told ?? {};
  return typeof root === 'string' && typeof socket === 'string' && typeof state === 'string' ? { root, state, socket } : null;
}

/**
 * A service is told its run and state directories by its unit, which nobody types in a shell. Where nothing lies at the socket
 * by default, the machine's agent counts if it has this root.
 */
async function ofSystem(location: Location): Promise<Location> {
  if (location.socket !== socketOf(`${location.root}/run`).path) return location;
  if (isThere(location.socket)) return location;
  try {
    const told = toldBySystem();
    return told !== null && told.root === location.root ? told : location;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    // The root by default is the one that a service has; any other may be an agent of one's own.
    if (code === 'EACCES' && location.root === DEFAULT_ROOT) throw await (await import('./access.ts')).forbidden(SYSTEM_RUN, error);
    return location;
  }
}

const isThere = (path: string): boolean => {
  try {
    accessSync(path);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ENOENT';
  }
};

/** Of the first file that exists; a named one that cannot be read is left to the whole reading, which says why. */
async function firstText(paths: readonly string[], isNamed: boolean): Promise<string | null> {
  for (const path of paths) {
    try {
      return plainText(path);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (!isNamed && path === SYSTEM_FILE && code === 'EACCES') throw await (await import('./access.ts')).forbidden(path, error);
      if (isNamed || (code !== 'ENOENT' && code !== 'ENOTDIR')) return UNREADABLE;
    }
  }
  return null;
}

/** Makes the quick answer step back. */
const UNREADABLE = 'root:';
