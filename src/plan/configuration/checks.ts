import { type Config, SIMULATOR_REPOSITORY } from '../../domain/configuration/config.ts';
import { isAgentError } from '../../domain/errors/errors.ts';
import { parseGitUrl, redactUrl } from '../../domain/installation/git-url.ts';
import { looksSecret } from '../text/redact-config.ts';
import { argumentFaults } from './comfyui-arguments.ts';

/** What no single key can tell: keys that do not fit together, and values that would break a command later. */

export interface Finding {
  readonly key: string;
  readonly message: string;
}

export function checkConfig(config: Config): { readonly problems: readonly Finding[]; readonly warnings: readonly string[] } {
  const problems = [
    ...checkArguments(config),
    ...checkRepositories(config),
    ...checkMirrors(config),
    ...checkPorts(config),
    ...checkPlaces(config),
  ];
  return { problems, warnings: checkOddities(config) };
}

const checkArguments = ({ comfyui }: Config): Finding[] =>
  argumentFaults(comfyui.arguments).map((message) => ({ key: 'comfyui.arguments', message }));

function checkRepositories({ comfyui, sharedRepository }: Config): Finding[] {
  const urls = [
    ['comfyui.repository', comfyui.repository],
    ['comfyui.fallbackRepository', comfyui.fallbackRepository],
    ['sharedRepository.url', sharedRepository.url],
  ] as const;
  const branches = [
    ['comfyui.branch', comfyui.branch],
    ['sharedRepository.branch', sharedRepository.branch],
  ] as const;
  return [
    ...urls.flatMap(([key, url]) => {
      if (url === null || (url === SIMULATOR_REPOSITORY && key !== 'sharedRepository.url')) return [];
      const fault = gitUrlFault(url);
      return fault === null ? [] : [{ key, message: fault }];
    }),
    ...branches.flatMap(([key, branch]) => {
      const fault = branch === null ? null : branchFault(branch);
      return fault === null ? [] : [{ key, message: fault }];
    }),
  ];
}

function checkMirrors({ install }: Config): Finding[] {
  return Object.entries(install.gitMirror).flatMap(([prefix, instead]) => {
    const key = 'install.gitMirror';
    const fault = gitUrlFault(`${prefix}x`) ?? gitUrlFault(`${instead}x`);
    if (fault !== null) return [{ key, message: fault }];
    return parseGitUrl(`${prefix}x`).credentials === null
      ? []
      : [{ key, message: `${JSON.stringify(redactUrl(prefix))} holds credentials, which belong to the URL that is spoken to` }];
  });
}

/** Why git cannot be given this URL, in words with a remedy; null when it can. */
function gitUrlFault(url: string): string | null {
  try {
    parseGitUrl(url);
    return null;
  } catch (error) {
    return isAgentError(error) ? `${error.message}; ${error.help}` : String(error);
  }
}

/** Why this cannot be a branch or tag (the rules of git check-ref-format that people meet); null when it can. */
export const branchFault = (branch: string): string | null =>
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
  /^[-/.]|\.\.|[\u0000-\u0020\u007f~^:?*[\\]|@\{|\/\/|\.lock$|[/.]$/.test(branch)
    ? `${JSON.stringify(branch)} cannot be the name of a branch or tag`
    : null;

/** As many as one machine has: the cards are not known here, and the last one must have a port too. */
const MOST_CARDS = 16;

function checkPorts({ ports, gpu, api }: Config): Finding[] {
  const count = (gpu.mode === 'mock' ? gpu.mockCount : null) ?? gpu.count ?? 1;
  const last = ports.first + count - 1;
  const found: Finding[] = [];
  const isOpen = gpu.mode === 'actual' && gpu.count === null;
  if (isOpen && last <= 65_535 && ports.first + MOST_CARDS - 1 > 65_535)
    found.push({
      key: 'ports.first',
      message: `found ${ports.first}, which leaves no port for a card past ${65_535 - ports.first}: at most ${65_536 - MOST_CARDS}, or say with gpu.count (NUM_GPUS) how many cards there are`,
    });
  if (last > 65_535)
    found.push({
      key: 'ports.first',
      message: `found ${ports.first}; with ${count} GPUs the last port would be ${last}, and 65535 is the highest`,
    });
  if (api.port >= ports.first && api.port <= last)
    found.push({ key: 'api.port', message: `found ${api.port}, which is the port of GPU ${api.port - ports.first}; choose another` });
  return found;
}

/** What the kernel shows there looks like files, and keeps none. */
const VIRTUAL = /^\/(?:proc|sys|dev(?!\/shm(?:\/|$)))(?:\/|$)/;

function checkPlaces({ root, stateDir, runDir, pm2 }: Config): Finding[] {
  const places = [
    ['root', root],
    ['stateDir', stateDir],
    ['runDir', runDir],
    ['pm2.home', pm2.home],
  ] as const;
  return places.flatMap(([key, path]) =>
    path !== null && VIRTUAL.test(path)
      ? [{ key, message: `found ${path}, which is a filesystem of the kernel and keeps no files; name a directory on a disk` }]
      : [],
  );
}

function checkOddities({ comfyui, packs, gpu }: Config): string[] {
  const secrets = Object.keys(comfyui.environment).filter(looksSecret);
  return [
    ...(secrets.length > 0
      ? [
          `comfyui.environment holds ${secrets.join(', ')}: PM2 writes the environment of processes to its files; give secrets to packs by env in config_nodes.json`,
        ]
      : []),
    ...(packs.testMode && packs.file !== null
      ? ['packs.testMode (STORAGE_TEST_MODE) has no effect, because packs.file names the file']
      : []),
    ...(gpu.mockCount !== null && gpu.mode !== 'mock' ? ['gpu.mockCount has no effect, because gpu.mode is not mock'] : []),
  ];
}
