import { Config } from '../../domain/configuration/config.ts';
import { ENVIRONMENT_NAMES, namesOf, SECRET_NAMES } from '../../plan/configuration/environment-names.ts';
import { pairs } from '../render/table.ts';
import type { Topic } from './topic.ts';

/** Topics about where things are and what sets them. */

export const environment: Topic = {
  name: 'environment',
  about: 'the variables that are understood, by the key they set; the first that is set wins',
  lines: () => [
    ...pairs([...new Set(ENVIRONMENT_NAMES.map(([key]) => key))].map((key) => [key, namesOf(key).join(', ')])),
    'AGENT_CONFIG names the file. Empty counts as not set (not for CUDA_VISIBLE_DEVICES); flags come before all of them.',
    `Secrets, never shown: ${SECRET_NAMES.join(', ')}. NO_COLOR and TERM=dumb switch colours off.`,
  ],
};

export const configuration: Topic = {
  name: 'configuration',
  about: 'where values come from, and how to change them',
  lines: ({ file, candidates }) => [
    'Order, later ones win: defaults, file, environment (`agent help environment`), flags.',
    `The file is the first of: ${candidates.join(', ')}${candidates.length > 1 ? ' (or --config, or AGENT_CONFIG)' : ''}.`,
    `In use here: ${file ?? 'none'}. One in the working directory is never taken by itself.`,
    '',
    '  agent config show      every value and where it came from, secrets masked',
    '  agent config check     reads all files, and lists every problem with line and remedy',
    '  agent config schema    JSON Schema, for editors',
    '',
    `Sections and keys:  ${Object.keys(Config.shape).join(', ')}`,
    '',
    'A key that is not known, or a value that does not parse, is refused with the nearest name that is. A running agent reads the',
    'file again when it changes; a bad edit changes nothing: the last good configuration stays in force, and `agent status`,',
    '`agent plan` and GET /health/comfyui name the problem. What an edit asks of the installation is done by `agent install`.',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: as it is written in the file
    '${NAME} and ${NAME:-default} are expanded in texts. Secrets only by variable or by keys that name a file (api.tokenFile).',
  ],
};

export const files: Topic = {
  name: 'files',
  about: 'what lies where on this machine, and what may be deleted',
  lines: ({ layout, file, candidates }) => [
    ...pairs([
      [file ?? candidates[0] ?? '', file === null ? 'configuration (not there)' : 'configuration'],
      [layout.root, 'the root; one agent owns it'],
      [layout.releases, 'installations, never changed after they were built'],
      [layout.current, 'link to the one in use'],
      [layout.installPath, 'link to its ComfyUI'],
      [layout.shared, 'config_nodes.json, workflows and what else is yours'],
      [layout.models, 'models'],
      [layout.inputs, 'inputs'],
      [layout.outputs, 'outputs, by GPU'],
      [layout.lockFile, 'what exactly is installed; copy it to build the same elsewhere'],
      [layout.instances, 'temporary files and user directories of instances'],
      [layout.cache, 'safe to delete while no installation runs'],
      [layout.state, 'journal, intents, port leases, PM2; for the agent alone'],
      [layout.socket, 'what commands talk to'],
      [`${layout.run}/instances.json`, 'where workers connect; instances.env for shells'],
      [layout.logs, 'agent.log, pm2.log, one for each instance and each installation; rotated'],
    ]),
    '',
    'Nothing needs to be deleted by hand: `agent cleanup --dry-run` shows what may go, `agent cleanup` deletes it.',
  ],
};
