import { SYSTEM_CONFIGURATION, SYSTEM_FILE, SYSTEM_SECRETS } from '../../../domain/configuration/access.ts';
import { AgentError } from '../../../domain/errors/errors.ts';
import type { DeployRequest, DeployStep } from '../../../domain/host/deploy.ts';
import { KEEP_FILES, PROBE, PUT_BACK_FILES, type RemoteFacts, readProbe, remoteError } from '../../../plan/host/deploy.ts';
import type { ProviderProfile } from '../../../plan/host/provider-profiles.ts';
import type { CommandOptions } from '../../../ports/shell.ts';
import { lookAtVolume, mountVolume, type RunAsRoot } from './volume.ts';

const PLACE = '/var/tmp/agent-deploy';
const PROGRAM = '/usr/local/bin/agent';

/** What is sent to every host. */
export interface Payload {
  readonly binary: string;
  readonly digest: string;
  /** Null: not sent. */
  readonly configuration: { readonly file: string; readonly digest: string } | null;
  readonly secrets: { readonly file: string; readonly digest: string } | null;
}

export interface HostWork {
  readonly host: string;
  readonly request: DeployRequest;
  readonly profile: ProviderProfile | null;
  readonly payload: Payload;
  /** Runs a command there. @throws AgentError when it fails */
  readonly ssh: (what: string, command: string, options?: CommandOptions) => Promise<string>;
  readonly told: (step: DeployStep, message: string) => void;
  /** What is done, or would be. */
  readonly plan: string[];
  readonly stop: AbortSignal;
}

/** Brings one host to what is wished; what is so already is left alone. @throws AgentError of the first step that fails */
export async function bringHost(work: HostWork): Promise<string> {
  const { host, request, profile, payload, ssh, told, plan } = work;
  told('connect', 'connecting');
  const facts = readProbe(host, await ssh('the first look', 'sh -s', { input: PROBE }));
  const sudo = facts.isRoot ? '' : 'sudo -n ';
  const asRoot: RunAsRoot = (what, script) => ssh(what, `${sudo}sh -s`, { input: `${script}\n` });

  if (profile?.volume != null) {
    told('volume', 'looking for the block volume');
    const wish = { mountPoint: profile.volume.mountPoint, device: request.device, mayFormat: request.format };
    const done = request.dryRun ? await lookAtVolume(asRoot, wish) : await mountVolume(asRoot, wish);
    if (done.do !== 'nothing') plan.push(`${done.do} ${done.device} at ${wish.mountPoint}`);
  }
  const changes = changesOf(facts, payload);
  const root = profile === null ? '' : ` --root ${profile.root}`;
  plan.push(...planLines(changes), `agent setup --yes${root}`, 'wait until it is healthy');
  if (request.dryRun) return 'would be done';

  const steps: HostSteps = { ...work, sudo, asRoot, changes, root };
  await withProgram(steps, (program) => replaceAgent(steps, program));
  told('health', 'waiting until it is healthy');
  const seconds = Math.ceil(request.timeoutMs / 1_000);
  await ssh('agent wait healthy', `${sudo}${PROGRAM} wait healthy --timeout ${seconds}s`, linesTo(told, 'health'));
  return 'healthy';
}

interface Changes {
  readonly program: boolean;
  /** The program is replaced under an agent that runs: proved, or taken back. */
  readonly upgrade: boolean;
  readonly configuration: boolean;
  readonly secrets: boolean;
  /** There are files to go back to. */
  readonly keep: boolean;
  /** An agent runs that has read what is changed. */
  readonly restart: boolean;
}

interface HostSteps extends HostWork {
  readonly sudo: string;
  readonly asRoot: RunAsRoot;
  readonly changes: Changes;
  readonly root: string;
}

function changesOf(facts: RemoteFacts, { digest, configuration, secrets }: Payload): Changes {
  const program = facts.installed !== digest;
  const changed = {
    configuration: configuration !== null && configuration.digest !== facts.configuration,
    secrets: secrets !== null && secrets.digest !== facts.secrets,
  };
  const { isActive } = facts;
  const isChanged = changed.configuration || changed.secrets;
  const keep = isChanged && (facts.configuration !== '' || facts.secrets !== '');
  return { program, upgrade: program && isActive, ...changed, keep, restart: isActive && isChanged };
}

const planLines = ({ program, upgrade, configuration, secrets, restart }: Changes): string[] => [
  program ? `copy the program to ${PROGRAM}` : `${PROGRAM} is this program already`,
  ...(upgrade ? ['agent upgrade: instances go on, and the old program comes back if the new one does not serve'] : []),
  ...(configuration ? [`write ${SYSTEM_FILE}`] : []),
  ...(secrets ? [`write ${SYSTEM_SECRETS}`] : []),
  ...(restart ? ['restart the agent: instances go on'] : []),
];

/** What the other side says while it works, for those who look at it live. */
const linesTo = (told: HostWork['told'], step: DeployStep): CommandOptions => ({
  onLine: (line) => {
    if (line.trim() !== '') told(step, line.trim());
  },
});

/** The program to work with: the one in place if it is the right one, else a copy that goes again at the end. */
async function withProgram(steps: HostSteps, work: (program: string) => Promise<void>): Promise<void> {
  const { host, payload, ssh, told, stop, sudo, changes } = steps;
  if (!changes.program) return work(PROGRAM);
  told('copy', 'copying the program');
  const place = (await ssh('making a directory', `${sudo}sh -c 'umask 077 && mktemp -d ${PLACE}.XXXXXXXX'`)).trim();
  if (!new RegExp(`^${PLACE}\\.\\w+$`).test(place)) throw remoteError(host, 'making a directory', 0, place);
  try {
    const program = `${place}/agent`;
    const copied = await ssh('copying the program', `${sudo}sh -c 'cat > ${program} && chmod 0755 ${program} && sha256sum ${program}'`, {
      inputFile: payload.binary,
    });
    if (!copied.startsWith(payload.digest))
      throw new AgentError('DIGEST_DIFFERS', `the program arrived damaged at ${host}`, { help: 'run the command again', retryable: true });
    await ssh('the new program', `${sudo}${program} --version`);
    await work(program);
  } finally {
    if (!stop.aborted) await ssh('tidying up', `${sudo}rm -rf ${place}`).catch(() => undefined);
  }
}

async function replaceAgent(steps: HostSteps, program: string): Promise<void> {
  const { payload, ssh, told, stop, sudo, asRoot, changes, root } = steps;
  if (changes.upgrade) {
    told('upgrade', 'agent upgrade');
    await ssh('agent upgrade', `${sudo}${PROGRAM} upgrade ${program} --sha256 ${payload.digest}`, linesTo(told, 'upgrade'));
  }
  told('configure', 'configuration and secrets');
  /** The content goes in at stdin, into a file that nobody else could ever read. */
  const send = (what: string, file: string, to: string, then = ''): Promise<string> =>
    ssh(what, `${sudo}sh -c 'umask 077 && mkdir -p -m 0750 ${SYSTEM_CONFIGURATION} && cat > ${to}.new${then} && mv -f ${to}.new ${to}'`, {
      inputFile: file,
    });
  // An agent that runs reads it at once.
  const asBefore = (to: string): string =>
    ` && if test -e ${to}; then chown --reference=${to} ${to}.new && chmod --reference=${to} ${to}.new; fi`;
  if (changes.keep) await asRoot('keeping the configuration', KEEP_FILES);
  try {
    if (changes.configuration && payload.configuration !== null)
      await send('writing the configuration', payload.configuration.file, SYSTEM_FILE, asBefore(SYSTEM_FILE));
    if (changes.secrets && payload.secrets !== null) await send('writing the secrets', payload.secrets.file, SYSTEM_SECRETS);
    told('setup', 'set-up');
    // After an upgrade the program in place is the right one, and set-up need not restart it.
    await ssh('agent setup', `${sudo}${changes.upgrade ? PROGRAM : program} setup --yes${root}`, linesTo(told, 'setup'));
  } catch (error) {
    // What set-up refuses must not be what the agent finds when it starts the next time.
    if (changes.keep && !stop.aborted) await asRoot('putting the configuration back', PUT_BACK_FILES).catch(() => undefined);
    throw error;
  }
  if (changes.restart) await asRoot('restarting the agent', 'systemctl restart comfylet');
  if (changes.keep) await asRoot('tidying up', `rm -f ${SYSTEM_CONFIGURATION}/agent.*.before`);
}
