import type { Provenance } from '../../domain/configuration/config.ts';
import { COMFYUI_USER, MARK, PM2_SOCKETS, RUN, STATE } from './layout.ts';

/** Begins what is added to the file of somebody else. */
export const ADDED_BY_SETUP = '# added by agent setup';

/** Keys without which commands of people would look for the agent elsewhere than where its unit puts it. */
const NEEDED: Readonly<Record<string, string>> = { stateDir: STATE, runDir: RUN };
const lines = (keys: readonly string[]): string => keys.map((key) => `${key}: ${NEEDED[key]}\n`).join('');

/** agent.yaml of a fresh machine: for commands that work without the agent, what its unit says to the agent. */
export const newConfiguration = (root: string): string =>
  `# ${MARK}; yours from now on\n# Every key: \`agent config schema\`; in force: \`agent config show\`.\nroot: ${root}\n${lines(Object.keys(NEEDED))}pm2:\n  mode: external\n  home: ${PM2_SOCKETS}\nusers:\n  comfyui: ${COMFYUI_USER}\n`;

/**
 * An agent.yaml that somebody else wrote: as it stands, and what it lacks at its end.
 * @param root the root when it says none and --root does; else null
 */
export function completedConfiguration(text: string, provenance: readonly Provenance[], root: string | null = null): string {
  const lacking = Object.keys(NEEDED).filter((key) => provenance.find(({ path }) => path === key)?.source === 'default');
  // Flow style has no end to add to.
  if (
    (lacking.length === 0 && root === null) ||
    /^[^\S\n]*\{/m.test(text.split('\n').find((line) => line.trim() !== '' && !/^\s*(#|---|%)/.test(line)) ?? '')
  )
    return text;
  return `${withNewline(text)}${ADDED_BY_SETUP}: where the units keep them\n${root === null ? '' : `root: ${root}\n`}${lines(lacking)}`;
}

/** What stands before that. */
export const withNewline = (text: string): string => (text === '' || text.endsWith('\n') ? text : `${text}\n`);
