import type { Finding } from '../../domain/doctor/doctor.ts';
import { AgentError } from '../../domain/errors/errors.ts';
import { parseGitUrl, redactUrl } from '../../domain/installation/git-url.ts';
import type { DoctorFacts } from './facts.ts';
import { cannotTell, fail, lacks, ok, warn } from './finding.ts';

/** What the operator wrote, and the repositories it names. */

export function checkConfiguration({ configuration }: DoctorFacts): Finding[] {
  const { file, problems, warnings } = configuration;
  const bad = problems.map((problem) => fail('config', problem, 'correct it; `agent config check` shows all problems'));
  const odd = warnings.map((warning) => warn('config', warning, 'change it if it is not meant so'));
  return bad.length > 0 ? [...bad, ...odd] : [ok('config', file === null ? 'no file: defaults, environment and flags' : file), ...odd];
}

export const checkInputs = ({ inputs }: DoctorFacts): Finding[] =>
  inputs.flatMap(({ path, problems, warnings }) => {
    const bad = problems.map((problem) => fail('files', problem, 'correct the file'));
    const odd = warnings.map((warning) => warn('files', warning, 'change it if it is not meant so'));
    return bad.length > 0 ? [...bad, ...odd] : [ok('files', path), ...odd];
  });

/** Only where a repository is reached over ssh. */
export function checkSsh({ repositories, ssh }: DoctorFacts): Finding[] {
  const remotes = repositories.flatMap(({ label, url }) => {
    const host = sshHost(url);
    return host === null ? [] : [{ label, host }];
  });
  if (remotes.length === 0) return [];
  const labels = remotes.map(({ label }) => label).join(', ');
  const findings: Finding[] = [];
  if (ssh.program === null)
    findings.push(
      lacks(
        'ssh',
        `the program ssh was not found, and these are reached with it: ${labels}`,
        'install an SSH client (apt install openssh-client)',
        'openssh-client',
      ),
    );
  if (ssh.key === 'none')
    findings.push(fail('ssh', `no SSH key is set, and these are reached with one: ${labels}`, 'set SSH_KEY_FILE, or CUT_PK_1..3'));
  else if (ssh.key !== 'usable') findings.push(fail('ssh', ssh.key.problem, ssh.key.help));
  for (const host of new Set(remotes.map((remote) => remote.host))) {
    const known = isKnown(host, ssh.knownHosts);
    if (known === false)
      findings.push(
        fail(
          'ssh',
          `the host key of ${host} is not known, so it is refused`,
          'put it (`ssh-keyscan`, then compare it with what the host publishes) into the file named by ssh.knownHostsFile',
        ),
      );
    if (known === null)
      findings.push(cannotTell('ssh', `whether the host key of ${host} is known: the names in ssh.knownHostsFile are hashed`));
  }
  return findings.length > 0 ? findings : [ok('ssh', `key and host keys are there for ${labels}`)];
}

/** Only where a repository is reached over https; one that answers shows that there are certificates elsewhere. */
export function checkCertificates({ repositories, reachable, certificates }: DoctorFacts): Finding[] {
  const labels = repositories.flatMap(({ label, url }) => (/^(git\+)?https:/i.test(url) ? [label] : []));
  if (labels.length === 0 || certificates !== null || reachable?.ok === true) return [];
  return [
    lacks(
      'certificates',
      `this machine has no certificates of authorities, and without them git trusts no host; these are reached over https: ${labels.join(', ')}`,
      'install ca-certificates (apt install ca-certificates), or name a file with SSL_CERT_FILE',
      'ca-certificates',
    ),
  ];
}

export function checkRepositories({ repositories, reachable }: DoctorFacts): Finding[] {
  const bad = repositories.flatMap(({ label, url }) => {
    try {
      parseGitUrl(url);
      return [];
    } catch (error) {
      return error instanceof AgentError ? [fail('repository', `${label}: ${error.message}`, error.help)] : [];
    }
  });
  if (reachable === null) return bad;
  return [...bad, reachable.ok ? ok('repository', reachable.value) : fail('repository', reachable.message, reachable.help)];
}

/** `github.com`, or `[host]:port` as known_hosts writes it; null when the URL is not for ssh. */
export function sshHost(url: string): string | null {
  try {
    if (parseGitUrl(url).transport !== 'ssh') return null;
  } catch {
    return null;
  }
  const plain = redactUrl(url);
  const [, host, port] = /^(?:git\+)?ssh:\/\/(?:[^@/]*@)?(\[[^\]]+\]|[^:/]+)(?::(\d+))?/.exec(plain) ?? [];
  if (host !== undefined)
    return port === undefined || port === '22' ? host.toLowerCase() : `[${host.replace(/^\[|\]$/g, '').toLowerCase()}]:${port}`;
  return /^(?:[^@/]*@)?([^:/]+):/.exec(plain)?.[1]?.toLowerCase() ?? null;
}

/** Null when hashed names may stand for it. */
export function isKnown(host: string, knownHosts: string): boolean | null {
  const lines = knownHosts
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([first]) => first !== undefined && first !== '' && !first.startsWith('#'));
  const patterns = lines
    .filter(([first]) => first !== '@revoked')
    .map(([first, second]) => (first === '@cert-authority' ? second : first) ?? '');
  const matches = (pattern: string): boolean =>
    pattern.split(',').some((name) =>
      new RegExp(
        `^${name
          .toLowerCase()
          .replace(/[.+^${}()|[\]\\]/g, '\\$&')
          .replaceAll('*', '.*')
          .replaceAll('?', '.')}$`,
      ).test(host),
    );
  if (patterns.some(matches)) return true;
  return patterns.some((pattern) => pattern.startsWith('|1|')) ? null : false;
}
