import { SECRET_NAMES } from '../configuration/environment-names.ts';

/** Beginnings of names by which programs are told what to load, whom to ask and what to run. */
const FAMILIES: readonly (readonly [prefix: string, whose: string])[] = [
  ['LD_', 'the loader'],
  ['DYLD_', 'the loader'],
  ['GLIBC_', 'the C library'],
  ['PYTHON', 'Python'],
  ['GIT_', 'git'],
  ['UV_', 'uv'],
  ['PIP_', 'pip'],
  ['NODE_', 'Node.js'],
  ['PM2_', 'PM2'],
  ['AGENT_', 'the agent'],
  ['COMFYLET_', 'the agent'],
  ['XDG_CONFIG_', 'every program'],
];

const NAMES: Readonly<Record<string, string>> = {
  ...Object.fromEntries(['PATH', 'HOME', 'USER', 'LOGNAME', 'TMPDIR'].map((name) => [name, 'every program'])),
  ...Object.fromEntries(['SHELL', 'ENV', 'BASH_ENV', 'IFS'].map((name) => [name, 'shells'])),
  ...Object.fromEntries(['GCONV_PATH', 'LOCPATH', 'MALLOC_TRACE', 'HOSTALIASES'].map((name) => [name, 'the C library'])),
  ...Object.fromEntries(['SSH_ASKPASS', 'SSH_AUTH_SOCK'].map((name) => [name, 'ssh'])),
  VIRTUAL_ENV: 'Python',
  ...Object.fromEntries(SECRET_NAMES.map((name) => [name, 'the agent'])),
};

/**
 * What `env` of a pack must not set: a pack puts its `.env` into the environment of ComfyUI, and so of all that ComfyUI starts.
 * Case does not count, as some programs read theirs in any.
 * @returns which program the variable is for; null: it may be set
 */
export function ownerOfName(name: string): string | null {
  const upper = name.toUpperCase();
  return NAMES[upper] ?? FAMILIES.find(([prefix]) => upper.startsWith(prefix))?.[1] ?? null;
}
