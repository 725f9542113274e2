import { SYSTEM_CONFIGURATION } from '../domain/access.ts';
import type { DeployHost, DeployRequest, DeployStep } from '../domain/deploy.ts';
import { AgentError, asAgentError } from '../domain/errors.ts';
import { checkHosts, PROBE, readProbe, remoteError, sshArguments, sshError } from '../plan/deploy.ts';
import { type ProviderProfile, providerProfile } from '../plan/provider-profiles.ts';
import type { CommandOptions, Files, Shell } from '../ports.ts';
import { lookAtVolume, mountVolume, type RunAsRoot } from './deploy-volume.ts';

export interface DeployOptions {
  readonly shell: Shell;
  readonly files: Files;
  /** The single executable. */
  readonly binary: string;
  readonly environment: Readonly<Record<string, string>>;
  readonly onChange: (host: DeployHost) => void;
  readonly signal: AbortSignal;
}

const PLACE = '/var/tmp/agent-deploy';
const PROGRAM = '/usr/local/bin/agent';

/** All hosts, a few at a time; one that fails says why and stops no other. @throws AgentError of the request itself */
export async function deploy(request: DeployRequest, options: DeployOptions): Promise<DeployHost[]> {
  const hosts = checkHosts(request.hosts);
  const profile = providerProfile(request.provider);
  for (const file of [options.binary, request.configuration, request.secrets])
    if (file !== null && (await options.files.size(file)) === null)
      throw new AgentError('USAGE', `${file} is not there`, { help: 'name a file' });
  const digest = await options.files.digest(options.binary, options.signal);
  const results = new Map<string, DeployHost>();
  const waiting = [...hosts];
  const worker = async (): Promise<void> => {
    for (let host = waiting.shift(); host !== undefined; host = waiting.shift())
      results.set(host, await deployHost(host, request, profile, digest, options));
  };
  await Promise.all(Array.from({ length: Math.min(request.parallel, hosts.length) }, worker));
  return hosts.flatMap((host) => results.get(host) ?? []);
}

async function deployHost(
  host: string,
  request: DeployRequest,
  profile: ProviderProfile | null,
  digest: string,
  { shell, binary, environment, onChange, signal: stop }: DeployOptions,
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
    told('connect', 'connecting');
    const facts = readProbe(host, await ssh('the first look', PROBE));
    const sudo = facts.isRoot ? '' : 'sudo -n ';
    const asRoot: RunAsRoot = (what, script) => ssh(what, `${sudo}sh -s`, { input: `${script}\n` });
    /** The content goes in at stdin, into a file that nobody else could ever read. */
    const send = (what: string, file: string, to: string): Promise<string> =>
      ssh(what, `${sudo}sh -c 'umask 077 && mkdir -p -m 0750 ${SYSTEM_CONFIGURATION} && cat > ${to}.new && mv -f ${to}.new ${to}'`, {
        inputFile: file,
      });

    if (profile?.volume != null) {
      told('volume', 'looking for the block volume');
      const wish = { mountPoint: profile.volume.mountPoint, device: request.device, mayFormat: request.format };
      const done = request.dryRun ? await lookAtVolume(asRoot, wish) : await mountVolume(asRoot, wish);
      if (done.do !== 'nothing') plan.push(`${done.do} ${done.device} at ${wish.mountPoint}`);
    }
    const isNew = facts.installed !== digest;
    plan.push(isNew ? `copy the program to ${PROGRAM}` : `${PROGRAM} is this program already`);
    if (request.configuration !== null) plan.push(`write ${SYSTEM_CONFIGURATION}/agent.yaml`);
    if (request.secrets !== null) plan.push(`write ${SYSTEM_CONFIGURATION}/agent.env`);
    const root = profile === null ? '' : ` --root ${profile.root}`;
    plan.push(`agent setup --yes${root}`, 'wait until it is healthy');
    if (request.dryRun) return told('done', 'would be done');

    let program = PROGRAM;
    let place: string | null = null;
    try {
      if (isNew) {
        told('copy', 'copying the program');
        place = (await ssh('making a directory', `${sudo}sh -c 'umask 077 && mktemp -d ${PLACE}.XXXXXXXX'`)).trim();
        if (!new RegExp(`^${PLACE}\\.\\w+$`).test(place)) throw remoteError(host, 'making a directory', 0, place);
        program = `${place}/agent`;
        const copied = await ssh(
          'copying the program',
          `${sudo}sh -c 'cat > ${program} && chmod 0755 ${program} && sha256sum ${program}'`,
          { inputFile: binary },
        );
        if (!copied.startsWith(digest))
          throw new AgentError('DIGEST_DIFFERS', `the program arrived damaged at ${host}`, {
            help: 'run the command again',
            retryable: true,
          });
        await ssh('the new program', `${sudo}${program} --version`);
      }
      told('configure', 'configuration and secrets');
      if (request.configuration !== null)
        await send('writing the configuration', request.configuration, `${SYSTEM_CONFIGURATION}/agent.yaml`);
      if (request.secrets !== null) await send('writing the secrets', request.secrets, `${SYSTEM_CONFIGURATION}/agent.env`);
      told('setup', 'set-up');
      const lines = (step: DeployStep) => ({ onLine: (line: string) => void (line.trim() !== '' && told(step, line.trim())) });
      await ssh('agent setup', `${sudo}${program} setup --yes${root}`, lines('setup'));
      told('health', 'waiting until it is healthy');
      await ssh('agent wait healthy', `${sudo}${PROGRAM} wait healthy --timeout ${Math.ceil(request.timeoutMs / 1_000)}s`, lines('health'));
    } finally {
      if (place !== null && !stop.aborted) await ssh('tidying up', `${sudo}rm -rf ${place}`).catch(() => undefined);
    }
    return told('done', 'healthy');
  } catch (thrown) {
    const error = asAgentError(thrown);
    return told('failed', error.message, error);
  }
}
