import { nearestName } from '../text/edit-distance.ts';
import { shownSetting } from '../text/redact-config.ts';
import {
  boolean,
  byComma,
  bySpace,
  count,
  indexes,
  integer,
  megabytes,
  type ReadValue,
  seconds,
  setMeans,
  text,
  trueMeans,
  word,
  words,
} from './environment-values.ts';
import type { ConfigProblem, Setting } from './setting.ts';

/**
 * Every environment variable that sets a configuration key, in order of precedence: for each key the first variable that
 * says something wins. Names without AGENT_ or COMFYUI_ are those of pip, uv and of the predecessor's start scripts.
 */
export const ENVIRONMENT_NAMES: readonly (readonly [key: string, name: string, read: ReadValue])[] = [
  ['root', 'AGENT_ROOT', text],
  ['root', 'WORKSPACE_PATH', text],
  ['root', 'WORKSPACE_DIR', text],
  ['root', 'ROOT', text],
  ['stateDir', 'AGENT_STATE_DIR', text],
  ['runDir', 'AGENT_RUN_DIR', text],
  ['comfyui.enabled', 'ENABLE_COMFYUI', boolean],
  ['comfyui.repository', 'COMFYUI_REPO', text],
  ['comfyui.repository', 'COMFYUI_REPO_URL', text],
  ['comfyui.repository', 'COMFY_REPO_URL', text],
  ['comfyui.branch', 'COMFYUI_BRANCH', text],
  ['comfyui.commit', 'COMFYUI_COMMIT', text],
  ['comfyui.fallbackRepository', 'COMFYUI_FALLBACK_REPO', text],
  ['comfyui.installPath', 'COMFYUI_INSTALL_PATH', text],
  ['comfyui.listen', 'COMFYUI_LISTEN', text],
  ['comfyui.arguments', 'COMFY_ARGS', words],
  // GPU_MODE=actual was set on machines that were then told to use the CPU, so it speaks last.
  ['gpu.mode', 'MOCK_GPU', trueMeans('mock')],
  ['gpu.mode', 'GPU_MODE', word(['mock', 'cpu'], { actual: null })],
  ['gpu.mode', 'TEST_GPUS', setMeans('mock')],
  ['gpu.mode', 'TEST_MODE', trueMeans('mock')],
  ['gpu.mode', 'COMFYUI_CPU_ONLY', trueMeans('cpu')],
  ['gpu.mode', 'COMFYUI_CPU_MODE', trueMeans('cpu')],
  ['gpu.mode', 'GPU_MODE', word(['actual', 'mock', 'cpu'])],
  ['gpu.mockCount', 'TEST_GPUS', integer],
  ['gpu.count', 'NUM_GPUS', count],
  ['gpu.cudaVisibleDevices', 'CUDA_VISIBLE_DEVICES', text],
  ['gpu.nvidiaVisibleDevices', 'NVIDIA_VISIBLE_DEVICES', text],
  ['gpu.pin', 'COMFYUI_PIN', word(['uuid', 'index'])],
  ['ports.first', 'COMFYUI_PORT_START', integer],
  ['ports.first', 'WORKER_BASE_COMFYUI_PORT', integer],
  ['ports.first', 'COMFYUI_BASE_PORT', integer],
  ['packs.file', 'CONFIG_NODES_FILE', text],
  ['packs.names', 'COMFYUI_CUSTOM_NODES', byComma],
  ['packs.testMode', 'STORAGE_TEST_MODE', boolean],
  ['python.interpreter', 'PYTHON', text],
  ['python.indexUrl', 'PIP_INDEX_URL', text],
  ['python.indexUrl', 'UV_DEFAULT_INDEX', text],
  ['python.indexUrl', 'UV_INDEX_URL', text],
  ['python.extraIndexUrls', 'PIP_EXTRA_INDEX_URL', bySpace],
  ['python.extraIndexUrls', 'UV_INDEX', indexes],
  ['python.extraIndexUrls', 'UV_EXTRA_INDEX_URL', indexes],
  ['python.findLinks', 'PIP_FIND_LINKS', bySpace],
  ['python.findLinks', 'UV_FIND_LINKS', byComma],
  ['models.path', 'COMFYUI_MODELS_PATH', text],
  ['sharedRepository.url', 'SHARED_REPO_URL', text],
  ['sharedRepository.branch', 'SHARED_REPO_BRANCH', text],
  ['ssh.keyFile', 'SSH_KEY_FILE', text],
  ['api.host', 'AGENT_HOST', text],
  ['api.port', 'AGENT_PORT', integer],
  ['api.port', 'MACHINE_HEALTH_PORT', integer],
  ['api.tokenFile', 'AGENT_TOKEN_FILE', text],
  ['api.advertiseHost', 'AGENT_ADVERTISE_HOST', text],
  ['pm2.mode', 'AGENT_PM2', word(['owned', 'external'])],
  ['pm2.home', 'AGENT_PM2_HOME', text],
  ['users.comfyui', 'AGENT_COMFYUI_USER', text],
  ['pm2.stopGraceMs', 'AGENT_STOP_GRACE', seconds],
  ['log.level', 'AGENT_LOG_LEVEL', word(['debug', 'info', 'warn', 'error'])],
  [
    'log.level',
    'LOG_LEVEL',
    word(['debug', 'info', 'warn', 'error'], {
      silly: 'debug',
      trace: 'debug',
      verbose: 'debug',
      http: 'info',
      notice: 'info',
      warning: 'warn',
      critical: 'error',
      fatal: 'error',
    }),
  ],
  ['log.maxFileMb', 'LOG_MAX_SIZE', megabytes],
];

/** Variables that hold secrets: read by `configuration.ts`, part of no configuration. */
export const SECRET_NAMES = ['AGENT_TOKEN', 'CUT_PK_1', 'CUT_PK_2', 'CUT_PK_3'] as const;
/** Known without setting a key. */
const OTHER_NAMES: readonly string[] = ['AGENT_CONFIG', ...SECRET_NAMES];

export type Environment = Readonly<Record<string, string | undefined>>;

/** Names that set a key, first match first. */
export const namesOf = (key: string): string[] => [
  ...new Set(ENVIRONMENT_NAMES.filter(([candidate]) => candidate === key).map(([, name]) => name)),
];

/** The key that a variable sets, when a file names the variable by mistake. */
export const keyOfName = (name: string): string | null => ENVIRONMENT_NAMES.find(([, candidate]) => candidate === name)?.[0] ?? null;

/** To CUDA a variable without a value says that there is no device. */
const EMPTY_SPEAKS: readonly string[] = ['CUDA_VISIBLE_DEVICES'];

/** A variable that is empty or blank counts as not set. */
export const variableOf = (environment: Environment, name: string): string | null => {
  const value = environment[name]?.trim();
  return value === undefined || (value === '' && !EMPTY_SPEAKS.includes(name)) ? null : value;
};

export interface EnvironmentReading {
  readonly settings: readonly Setting[];
  readonly problems: readonly ConfigProblem[];
  readonly warnings: readonly string[];
}

export function readEnvironment(environment: Environment): EnvironmentReading {
  const settings = new Map<string, Setting>();
  const problems = new Map<string, ConfigProblem>();
  const warnings: string[] = [];
  for (const [key, name, read] of ENVIRONMENT_NAMES) {
    const written = variableOf(environment, name);
    if (written === null || problems.has(key)) continue;
    const reading = read(written);
    if (reading === null) continue;
    const winner = settings.get(key);
    if (winner !== undefined) {
      const differs = !('value' in reading) || JSON.stringify(reading.value) !== JSON.stringify(winner.value);
      // Whether cards are real is told by several variables that never contradict each other in practice.
      if (differs && winner.origin !== name && key !== 'gpu.mode')
        warnings.push(`${name} is ignored, because ${winner.origin} is set and comes first`);
    } else if ('value' in reading)
      settings.set(key, { key, value: reading.value, written, source: 'environment', origin: name, line: null });
    else
      problems.set(key, {
        key,
        source: 'environment',
        origin: name,
        line: null,
        code: 'CONFIG_INVALID',
        message: `found ${shownSetting(key, written)}; allowed: ${reading.allowed}`,
      });
  }
  return { settings: [...settings.values()], problems: [...problems.values()], warnings: [...warnings, ...misspelt(environment)] };
}

/** One letter off a known name is told; it may still be a variable of something else. */
function misspelt(environment: Environment): string[] {
  const known = [...new Set([...ENVIRONMENT_NAMES.map(([, name]) => name), ...OTHER_NAMES])].filter((name) =>
    /^(AGENT|COMFYUI|COMFY)_/.test(name),
  );
  return Object.keys(environment)
    .filter((name) => /^(AGENT|COMFYUI|COMFY)_/.test(name) && !known.includes(name) && variableOf(environment, name) !== null)
    .flatMap((name) => {
      const nearest = nearestName(name, known, 1);
      return nearest === null ? [] : [`${name} is no variable of the agent; did you mean ${nearest}?`];
    });
}
