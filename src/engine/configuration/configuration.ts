import type { Layout } from '../../domain/configuration/config.ts';
import { AgentError } from '../../domain/errors/errors.ts';
import { tokenProblem } from '../../plan/configuration/access-token.ts';
import { readConfiguration, toError } from '../../plan/configuration/configuration.ts';
import { layoutOf } from '../../plan/configuration/layout.ts';
import { type ConfigCandidate, configurationFile } from '../../plan/configuration/location.ts';
import type { Files } from '../../ports/files.ts';
import type { LoadedConfiguration } from '../knowledge.ts';

/** Where this run of the program was told its configuration from. */
export interface ConfigurationRequest {
  /** `--config`. */
  readonly file: string | null;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly flags: readonly { readonly key: string; readonly value: unknown; readonly flag: string }[];
  readonly workingDirectory: string;
}

/** Keys that a running agent cannot change under itself. */
const FIXED_KEYS = [
  'root',
  'stateDir',
  'runDir',
  'api.host',
  'api.port',
  'api.tokenFile',
  'api.allowedHosts',
  'api.allowedOrigins',
  'install.gitTimeoutMs',
  'install.pythonTimeoutMs',
  'gpu.queryTimeoutMs',
  'api.maxStreams',
  'pm2.mode',
  'pm2.home',
  'users.comfyui',
  'log.level',
  'log.maxFileMb',
  'log.keepFiles',
];

/** Reads the configuration, and reads it again when a file changed; a bad edit keeps what was. */
export class ConfigurationSource {
  readonly #files: Files;
  readonly #request: ConfigurationRequest;

  constructor(files: Files, request: ConfigurationRequest) {
    this.#files = files;
    this.#request = request;
  }

  /** @throws AgentError CONFIG_INVALID with every problem, CONFIG_NOT_FOUND */
  async load(): Promise<LoadedConfiguration> {
    const { environment, flags, workingDirectory } = this.#request;
    const file = await this.#readFile();
    const result = readConfiguration({ file, environment, flags, workingDirectory });
    if (!result.ok) throw toError(result.problems);
    const { config, secrets, provenance, warnings } = result;
    const layout = layoutOf(config);
    const told = layout.socketFallback ? [`the path ${layout.run}/agent.sock is too long for a socket; ${layout.socket} is used`] : [];
    return {
      config,
      layout,
      secrets: { ...secrets, token: secrets.token ?? (await this.#readToken(secrets.tokenFile)) },
      provenance,
      file: file?.path ?? null,
      warnings: [...warnings, ...told],
      generation: 1,
      problem: null,
    };
  }

  async reload(before: LoadedConfiguration): Promise<LoadedConfiguration> {
    try {
      const next = await this.load();
      const changed = next.provenance.filter(
        (value) => JSON.stringify(value.value) !== JSON.stringify(before.provenance.find((old) => old.path === value.path)?.value),
      );
      if (changed.length === 0) return { ...before, problem: null };
      const fixed = changed.filter((value) => FIXED_KEYS.includes(value.path)).map((value) => value.path);
      if (fixed.length > 0)
        return {
          ...before,
          problem: `${next.file ?? 'the configuration'}: ${fixed.join(', ')} can only be changed by restarting the agent; the edit waits until then`,
        };
      return { ...next, generation: before.generation + 1 };
    } catch (error) {
      return { ...before, problem: error instanceof Error ? error.message : String(error) };
    }
  }

  /** Files whose change is worth a look: the configuration wherever it may appear, and the operator's input files. */
  watched({ layout }: { readonly layout: Layout }): readonly string[] {
    return [...this.candidates(), layout.configNodes, layout.directoryConfig, layout.staticModels, layout.lockFile];
  }

  /** Where the configuration file may lie. */
  candidates(): readonly string[] {
    return this.#places().map(({ path }) => path);
  }

  #places(): readonly ConfigCandidate[] {
    const { file, environment, workingDirectory } = this.#request;
    return configurationFile({ flag: file, root: this.rootFlag(), environment, workingDirectory });
  }

  async #readFile(): Promise<{ readonly path: string; readonly text: string } | null> {
    for (const { path, required } of this.#places()) {
      const text = await this.#files.readText(path);
      if (text !== null) return { path, text };
      if (required) throw new AgentError('CONFIG_NOT_FOUND', `${path} does not exist`);
    }
    return null;
  }

  async #readToken(file: string | null): Promise<string | null> {
    if (file === null) return null;
    const text = await this.#files.readText(file);
    const token = text?.trim() ?? '';
    const problem = text === null ? 'does not exist' : tokenProblem(token);
    if (problem !== null) throw new AgentError('CONFIG_INVALID', `${file} (api.tokenFile) ${problem}`);
    return token;
  }

  /** `--root`. */
  rootFlag(): string | null {
    const root = this.#request.flags.find((flag) => flag.key === 'root')?.value;
    return typeof root === 'string' ? root : null;
  }
}
