import { AGENT_UNIT } from '../../domain/configuration/access.ts';
import type { DoctorDocument, Finding } from '../../domain/doctor/doctor.ts';
import { AgentError } from '../../domain/errors/errors.ts';
import type { HostFacts, HostPath } from '../../domain/host/host.ts';
import {
  binaryOf,
  COMFYUI_HOME,
  CONFIGURATION,
  FORMER_UNIT_FILES,
  FORMER_USER,
  INIT_SCRIPT,
  isOurs,
  mgpuOf,
  STATE,
  UNIT_FILES,
  UNITS,
  unitFileOf,
} from './layout.ts';
import type { SetupWish } from './setup.ts';
import { closedAbove } from './units.ts';

/** Filesystems whose locks and sockets depend on another machine, as the kernel names them. */
const NETWORK =
  /^(nfs\d?|cifs|smb3|smbfs|ceph|glusterfs|lustre|afs|9p|beegfs|gpfs|fuse\.(sshfs|s3fs|rclone|gcsfuse|glusterfs|juicefs|ceph))$/;
/** What unit files and shims can hold without quotes. */
const PLAIN_PATH = /^\/[\w./@+-]*$/;

/** What is asked of the machine before anything else. @throws AgentError ROOT_RIGHTS_NEEDED */
export function requireRoot(isRoot: boolean, commandLine: string, what = 'setting up a machine'): void {
  if (!isRoot) throw new AgentError('ROOT_RIGHTS_NEEDED', `${what} needs root rights`, { help: `run \`sudo ${commandLine}\`` });
}

/** @throws AgentError USAGE when a path cannot be named in a unit */
export function requirePlainPath(path: string, option: string): void {
  if (PLAIN_PATH.test(path) && path !== '/' && !path.split('/').includes('..')) return;
  throw new AgentError('USAGE', `${option} ${path}: only letters, digits and . _ - @ + can stand in a path that a unit names`, {
    help: `name an absolute path, such as ${option} /srv/comfyui`,
  });
}

/**
 * Why set-up cannot go on, before anything is changed.
 * @param force what is in the way may be replaced
 * @throws AgentError SYSTEM_TOOL_MISSING, SYSTEMD_MISSING, PREFIX_NOT_WRITABLE, ROOT_UNSUITABLE, IN_THE_WAY
 */
export function refuseSetup(wish: SetupWish, facts: HostFacts, force: boolean): void {
  refuseTools(wish, facts);
  if (facts.places[`${wish.prefix}/bin`]?.isReadOnly === true)
    throw new AgentError('PREFIX_NOT_WRITABLE', `${wish.prefix} is read-only`, {
      help: 'choose another place with --prefix (for example --prefix /opt/comfylet), or mount it writable',
    });
  refuseRoot(wish.root, facts);
  refuseFormer(facts);
  refuseOthers(wish, facts, force);
}

function refuseTools({ start }: SetupWish, { tools, hasSystemd, container }: HostFacts): void {
  const missing = Object.entries(tools).flatMap(([name, path]) => (path === null && name !== 'systemctl' ? [name] : []));
  if (missing.length > 0)
    throw new AgentError('SYSTEM_TOOL_MISSING', `${missing.join(', ')} not found in the directories of the system`, {
      help: 'install the packages passwd and libc-bin (apt install passwd libc-bin)',
    });
  if (!start || (hasSystemd && tools['systemctl'] !== null)) return;
  throw new AgentError(
    'SYSTEMD_MISSING',
    `${container === null ? 'this machine' : `this container (${container})`} does not run systemd: there is nobody to start the agent`,
    {
      help: 'in a container make `tini -- agent run` its entry point; `agent setup --no-start` writes users and files for an image all the same',
    },
  );
}

function refuseRoot(root: string, { places, paths }: HostFacts): void {
  const place = places[root];
  const elsewhere = 'choose a directory on a local disk with --root';
  if (place?.isReadOnly === true) throw new AgentError('ROOT_UNSUITABLE', `${root} is read-only`, { help: elsewhere });
  if (place?.takesLinks === false)
    throw new AgentError(
      'ROOT_UNSUITABLE',
      `${root} (${place.filesystem}) takes no symbolic links, which releases and Python environments need`,
      {
        help: elsewhere,
      },
    );
  const present = paths[root];
  if (present != null && present.kind !== 'directory')
    throw new AgentError('ROOT_UNSUITABLE', `${root} is there and is not a directory`, { help: 'name the directory itself with --root' });
}

/** Two agents on one machine would fight for its cards: what the earlier one left goes first, by hand. */
function refuseFormer({ paths }: HostFacts): void {
  const units = FORMER_UNIT_FILES.filter((unit) => paths[unitFileOf(unit)] != null);
  if (units.length === 0) return;
  throw new AgentError('IN_THE_WAY', `units of this program's former name are here: ${units.join(', ')}`, {
    help: [
      `\`systemctl disable --now ${units.join(' ')}\` (this ends ComfyUI)`,
      `\`rm ${units.map(unitFileOf).join(' ')}\``,
      `\`userdel ${FORMER_USER}\``,
      `move /etc/${FORMER_USER} to ${CONFIGURATION} and /var/lib/${FORMER_USER} to ${STATE}, or remove them`,
      'run this again',
    ].join('; '),
  });
}

/** A program, unit or shim of that name that set-up did not write is somebody else's. */
function refuseOthers({ prefix, program, legacy }: SetupWish, { paths }: HostFacts, force: boolean): void {
  const isNoFile = (path: HostPath | null | undefined): boolean => path != null && (path.kind === 'directory' || path.kind === 'other');
  const files = [binaryOf(prefix), ...UNIT_FILES.map(unitFileOf), ...(legacy === null ? [] : [INIT_SCRIPT, mgpuOf(prefix)])];
  const wrong =
    files.find((path) => isNoFile(paths[path])) ??
    [CONFIGURATION, STATE, COMFYUI_HOME].find((path) => paths[path] != null && paths[path]?.kind !== 'directory');
  if (wrong !== undefined)
    throw new AgentError('IN_THE_WAY', `${wrong} is there and is something else`, { help: 'move it away, then run this again' });
  if (force) return;
  // The program itself carries no mark; beside a unit of ours it is ours.
  const isInstalled = isOurs(paths[unitFileOf(AGENT_UNIT)]?.head ?? null) || ('file' in program && program.file === binaryOf(prefix));
  const foreign = files.find((path) => {
    const present = paths[path];
    if (present == null || isOurs(present.head)) return false;
    return path !== binaryOf(prefix) || (!isInstalled && !('file' in program && present.sha256 === paths[program.file]?.sha256));
  });
  if (foreign !== undefined)
    throw new AgentError('IN_THE_WAY', `${foreign} is there already and was not written by \`agent setup\``, {
      help: 'look at it; move it away, or replace it with --yes',
    });
}

/** Checks without which the agent could not even start, or install anything at all. The others mend while it runs, and it tells them. */
const FATAL = new Set(['config', 'root', 'ps', 'python', 'git']);

export const fatalFindings = ({ findings }: DoctorDocument): Finding[] =>
  findings.filter(({ check, status }) => status === 'fail' && FATAL.has(check));

/** What to do about them, in one line that can be pasted where it is a matter of packages. */
export function helpForHeld(findings: readonly Finding[]): string {
  const packages = [...new Set(findings.flatMap(({ debianPackage }) => debianPackage ?? []))];
  const mend =
    packages.length === 0
      ? 'mend what is named above'
      : `install what is missing (on Debian and Ubuntu: apt-get install --no-install-recommends ${packages.join(' ')})`;
  return `${mend} and run this again; --yes sets the machine up all the same`;
}

/** What is no step, and a person should know. */
export function setupNotes({ root, prefix, program, start }: SetupWish, facts: HostFacts): string[] {
  const { places, units, hasSystemd } = facts;
  const network = (path: string): string | null => {
    const { filesystem } = places[path] ?? { filesystem: '' };
    return NETWORK.test(filesystem) ? filesystem : null;
  };
  const closed = closedAbove(root, facts);
  return [
    ...(closed === null ? [] : [`${closed} lets nobody else in, and stays so: the units alone see ${root}`]),
    ...(network(root) === null ? [] : [`${root} is on ${network(root)}; state and sockets stay on the local disk (${STATE})`]),
    ...(network(STATE) === null
      ? []
      : [`${STATE} is on ${network(STATE)}: the journal needs a local disk; set stateDir in ${CONFIGURATION}/agent.yaml`]),
    ...('text' in program ? [`${binaryOf(prefix)} starts the program where it was built: keep that directory`] : []),
    ...(start && hasSystemd && units[UNITS[0]]?.isActive === true && facts.units[UNITS[0]]?.needsReload === true
      ? [`${UNITS[0]} goes on as it was started; \`systemctl restart ${UNITS[0]}\` renews it and ends ComfyUI`]
      : []),
  ];
}
