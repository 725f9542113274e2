import { AgentError, asAgentError } from '../../../domain/errors/errors.ts';
import type { DeployHost, DeployRequest, DeployStep } from '../../../domain/host/deploy.ts';
import { textDigest } from '../../../domain/text/digest.ts';
import { withNewline } from '../../../plan/host/configuration.ts';
import { checkHosts, remoteError, sshArguments, sshError } from '../../../plan/host/deploy.ts';
import { type ProviderProfile, providerProfile } from '../../../plan/host/provider-profiles.ts';
import type { Files } from '../../../ports/files.ts';
import type { CommandOptions, Shell } from '../../../ports/shell.ts';
import { bringHost, type Payload } from './host.ts';

export interface DeployOptions {
  readonly shell: Shell;
  readonly files: Files;
  /** The single executable. */
  readonly binary: string;
  readonly environment: Readonly<Record<string, string>>;
  readonly onChange: (host: DeployHost) => void;
  readonly signal: AbortSignal;
}

/** All hosts, a few at a time; one that fails says why and stops no other. @throws AgentError of the request itself */
export async function deploy(request: DeployRequest, options: DeployOptions): Promise<DeployHost[]> {
  const hosts = checkHosts(request.hosts);
  const profile = providerProfile(request.provider);
  for (const file of [options.binary, request.configuration, request.secrets])
    if (file !== null && (await options.files.size(file)) === null)
      throw new AgentError('USAGE', `${file} is not there`, { help: 'name a file' });
  const payload = await payloadOf(request, options);
  const results = new Map<string, DeployHost>();
  const waiting = [...hosts];
  const worker = async (): Promise<void> => {
    for (let host = waiting.shift(); host !== undefined; host = waiting.shift())
      results.set(host, await deployHost(host, request, profile, payload, options));
  };
  await Promise.all(Array.from({ length: Math.min(request.parallel, hosts.length) }, worker));
  return hosts.flatMap((host) => results.get(host) ?? []);
}

async function payloadOf({ configuration, secrets }: DeployRequest, { files, binary, signal }: DeployOptions): Promise<Payload> {
  return {
    binary,
    digest: await files.digest(binary, signal),
    // Set-up ends it with a newline before it adds anything.
    configuration:
      configuration === null ? null : { file: configuration, digest: textDigest(withNewline((await files.readText(configuration)) ?? '')) },
    secrets: secrets === null ? null : { file: secrets, digest: await files.digest(secrets, signal) },
  };
}

async function deployHost(
  host: string,
  request: DeployRequest,
  profile: ProviderProfile | null,
  payload: Payload,
  { shell, environment, onChange, signal: stop }: DeployOptions,
): Promise<DeployHost> {
  const began = performance.now();
  const limit = AbortSignal.timeout(request.timeoutMs);
  const signal = AbortSignal.any([stop, limit]);
  const plan: string[] = [];
  const told = (step: DeployStep, message: string, error: AgentError | null = null): DeployHost => {
    const { code, help, retryable, details } = error ?? {};
    const document = code === undefined ? null : { code, message, help: help ?? '', retryable: retryable ?? false, details };
    const state = { host, step, message, plan, durationMs: Math.round(performance.now() - began), error: document } as DeployHost;
    onChange(state);
    return state;
  };
  const ssh = async (what: string, command: string, options: CommandOptions = {}): Promise<string> => {
    const { exitCode, stdout, tail } = await shell.run('ssh', sshArguments(host, request.sshConfig, command), {
      environment,
      signal,
      ...options,
    });
    if (signal.aborted)
      throw limit.aborted
        ? new AgentError('TIMED_OUT', `${what} was not done within the time allowed`)
        : new AgentError('INTERRUPTED', `interrupted during ${what}`);
    if (exitCode === 255) throw sshError(host, tail);
    if (exitCode !== 0) throw remoteError(host, what, exitCode, tail);
    return stdout;
  };
  try {
    return told(
      'done',
      await bringHost({ host, request, profile, payload, ssh, told: (step, message) => void told(step, message), plan, stop }),
    );
  } catch (thrown) {
    const error = asAgentError(thrown);
    return told('failed', error.message, error);
  }
}
