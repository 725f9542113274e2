import { posix } from 'node:path';
import {
  AGENT_UNIT,
  AGENT_USER,
  SYSTEM_CONFIGURATION,
  SYSTEM_FILE,
  SYSTEM_RUN,
  SYSTEM_SECRETS,
} from '../../domain/configuration/access.ts';
import type { HostRights } from '../../domain/host/host.ts';

/** Names and places of an agent under systemd: what packages of distributions would use too. */

/** Runs PM2, ComfyUI and everything foreign; may read neither configuration nor state. */
export const COMFYUI_USER = 'comfyui';
export const PM2_UNIT = 'comfylet-pm2.service';
/** Starts the agent after an edit of what it could not start with; comes and goes with it. */
const AGENT_PATH = 'comfylet.path';
/** In the order in which they start. */
export const UNITS = [PM2_UNIT, AGENT_UNIT] as const;
/** All files of units. */
export const UNIT_FILES = [PM2_UNIT, AGENT_PATH, AGENT_UNIT] as const;
/** Of this program before it had its name. */
export const FORMER_UNIT_FILES = ['comfy-agent.service', 'comfy-agent.path', 'comfy-pm2.service'] as const;
export const FORMER_USER = 'comfy-agent';

export const CONFIGURATION = SYSTEM_CONFIGURATION;
export const CONFIGURATION_FILE = SYSTEM_FILE;
export const SECRETS_FILE = SYSTEM_SECRETS;
export const STATE = '/var/lib/comfylet';
/** Home of ComfyUI's user: what packs download "for the user" goes there. */
export const COMFYUI_HOME = '/var/lib/comfyui';
export const RUN = SYSTEM_RUN;
/** Sockets of the PM2 daemon, which its own user makes. */
export const PM2_SOCKETS = '/run/comfylet-pm2';
export const UNIT_DIRECTORY = '/etc/systemd/system';
export const INIT_SCRIPT = '/etc/init.d/comfyui';

/** What the files that ship with the program name, and set-up replaces. */
const SHIPPED_PREFIX = '/usr/local';
const SHIPPED_ROOT = '/workspace';

export const DEFAULT_PREFIX = SHIPPED_PREFIX;
export const binaryOf = (prefix: string): string => `${prefix}/bin/agent`;
export const mgpuOf = (prefix: string): string => `${prefix}/bin/mgpu`;
export const unitFileOf = (unit: string): string => `${UNIT_DIRECTORY}/${unit}`;

export const rights = (owner: string, group: string, mode: number): HostRights => ({ owner, group, mode });
export const PUBLIC_FILE = rights('root', 'root', 0o644);
export const PROGRAM = rights('root', 'root', 0o755);
/** Only the agent makes something at the top; what either user makes below belongs to the group of ComfyUI. */
export const ROOT_RIGHTS = rights(AGENT_USER, COMFYUI_USER, 0o2755);

/** Every text file that set-up writes says so within its first lines: what does not is somebody else's. */
export const MARK = 'comfylet: written by `agent setup`';
export const isOurs = (head: string | null): boolean => head?.includes(MARK) === true;
/** In the comment of a user whom set-up made: such a user goes again at the end. */
export const USER_COMMENT = 'made by agent setup';

/** A shipped text (unit, shim) for this machine: its prefix, its root, and the mark. */
export function placed(text: string, { prefix, root }: { readonly prefix: string; readonly root: string }): string {
  const here = text
    .replaceAll(new RegExp(`${SHIPPED_PREFIX}/bin/(?=(?:agent|mgpu)\\b)`, 'g'), `${prefix}/bin/`)
    .replaceAll(new RegExp(`(?<![\\w./]|[\\w./]-)${SHIPPED_ROOT}(?![\\w.-])`, 'g'), root);
  const [first = '', ...rest] = here.split('\n');
  return first.startsWith('#!') ? [first, `# ${MARK}`, ...rest].join('\n') : `# ${MARK}\n${here}`;
}

/** Under whom the agent runs: its unit is the one place that says so. */
export function agentOwner(unit: string): { readonly user: string; readonly group: string } {
  const user = /^User=([\w-]+)$/m.exec(unit)?.[1] ?? AGENT_USER;
  return { user, group: /^Group=([\w-]+)$/m.exec(unit)?.[1] ?? user };
}

/** Directories on the way to a path, from the top; neither `/` nor the path itself. */
export function ancestorsOf(path: string): string[] {
  const above: string[] = [];
  for (let directory = posix.dirname(path); directory !== '/' && directory !== '.'; directory = posix.dirname(directory))
    above.unshift(directory);
  return above;
}
