import type { Provenance } from '../domain/config.ts';
import { COMFYUI_USER, MARK, PM2_SOCKETS, RUN, STATE } from './host-layout.ts';

/** Keys without which commands of people would look for the agent elsewhere than where its unit puts it. */
const NEEDED: Readonly<Record<string, string>> = { stateDir: STATE, runDir: RUN };
const lines = (keys: readonly string[]): string => keys.map((key) => `${key}: ${NEEDED[key]}\n`).join('');

/** agent.yaml of a fresh machine: for commands that work without the agent, what its unit says to the agent. */
export const newConfiguration = (root: string): string =>
  `# ${MARK}; yours from now on\n# Every key: \`agent config schema\`; in force: \`agent config show\`.\nroot: ${root}\n${lines(Object.keys(NEEDED))}pm2:\n  mode: external\n  home: ${PM2_SOCKETS}\nusers:\n  comfyui: ${COMFYUI_USER}\n`;

/** An agent.yaml that somebody else wrote: as it stands, and what it lacks at its end. */
export function completedConfiguration(text: string, provenance: readonly Provenance[]): string {
  const lacking = Object.keys(NEEDED).filter((key) => provenance.find(({ path }) => path === key)?.source === 'default');
  // Flow style has no end to add to.
  if (lacking.length === 0 || /^\s*\{/m.test(text.split('\n').find((line) => line.trim() !== '' && !/^\s*(#|---|%)/.test(line)) ?? ''))
    return text;
  const body = text === '' || text.endsWith('\n') ? text : `${text}\n`;
  return `${body}# added by agent setup: where the units keep them\n${lines(lacking)}`;
}
