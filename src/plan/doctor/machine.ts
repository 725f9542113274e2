import { SIMULATOR_REPOSITORY } from '../../domain/configuration/config.ts';
import type { Finding } from '../../domain/doctor/doctor.ts';
import { inodesText } from '../../domain/upkeep/upkeep.ts';
import { compareVersions } from '../installation/flags.ts';
import type { DoctorFacts } from './facts.ts';
import { cannotTell, fail, lacks, ok, warn } from './finding.ts';

/** The machine and its programs, without cards. */

const GIBIBYTE = 1024 ** 3;
const MEBIBYTE = 1024 ** 2;
/** ComfyUI with CUDA torch is 8 to 12 GB with its packages, and an update needs a second release beside the first. */
const COMFORTABLE_BYTES = 30 * GIBIBYTE;
/** ComfyUI's own requirement (pyproject.toml: requires-python >= 3.9). */
const OLDEST_PYTHON = '3.9';
/** --filter and protocol v2 of the mirrors. */
const OLDEST_GIT = '2.25';
/** Nothing of this program is older: a clock before it breaks TLS. */
const EARLIEST_NOW = Date.UTC(2025, 0, 1);
const CLOCK_SLACK_MS = 300_000;

const isSimulator = ({ config }: DoctorFacts): boolean => config.comfyui.repository === SIMULATOR_REPOSITORY;

export const checkRoot = ({ root, rootWritable }: DoctorFacts): Finding[] => [
  rootWritable.ok ? ok('root', `${root} can be written by this user`) : fail('root', rootWritable.message, rootWritable.help),
];

export function checkDisk(facts: DoctorFacts): Finding[] {
  const { freeBytes, root, config } = facts;
  if (!freeBytes.known) return [cannotTell('disk', `the free space of ${root} could not be read: ${freeBytes.reason}`)];
  if (facts.inodes?.free === 0)
    return [
      fail(
        'disk',
        `${inodesText(facts.inodes)}: the disk takes no more files, whatever space it has`,
        'delete small files (`df -i` shows which disk, `agent cleanup --dry-run` what may go), or choose another root',
      ),
    ];
  const needed = config.install.minFreeDiskMb * MEBIBYTE;
  const text =
    freeBytes.value < GIBIBYTE ? `${Math.floor(freeBytes.value / MEBIBYTE)} MB free` : `${Math.floor(freeBytes.value / GIBIBYTE)} GB free`;
  if (freeBytes.value < needed)
    return [
      fail(
        'disk',
        `${text}; an installation is not begun below ${config.install.minFreeDiskMb} MB`,
        'free space, or choose another root; `df -h` shows what is full',
      ),
    ];
  if (!isSimulator(facts) && freeBytes.value < COMFORTABLE_BYTES)
    return [
      warn(
        'disk',
        `${text}; ComfyUI with CUDA takes about 12 GB, and a second release beside it while updating`,
        'free space, or choose a larger disk with --root or AGENT_ROOT',
      ),
    ];
  return [ok('disk', text)];
}

export function checkClock({ now, lastSeen }: DoctorFacts): Finding[] {
  const shown = new Date(now).toISOString();
  if (now < EARLIEST_NOW)
    return [fail('clock', `the clock says ${shown}; certificates are not valid yet then`, 'set the clock (timedatectl set-ntp true)')];
  if (lastSeen !== null && lastSeen > now + CLOCK_SLACK_MS)
    return [
      warn(
        'clock',
        `the clock says ${shown}, but this root was already used at ${new Date(lastSeen).toISOString()}`,
        'check the clock (timedatectl); until then ages and retries may be wrong',
      ),
    ];
  return [ok('clock', shown)];
}

/** PM2 finds the children of a process with ps, and leaves them running where there is none. */
export const checkPs = ({ programs }: DoctorFacts): Finding[] => [
  programs.ps === null
    ? lacks(
        'ps',
        'the program ps was not found; without it PM2 cannot stop the children of an instance',
        'install procps (apt install procps)',
        'procps',
      )
    : ok('ps', programs.ps),
];

export function checkPython({ python, config }: DoctorFacts): Finding[] {
  if (!python.ok)
    return [
      python.code === 'PYTHON_MISSING'
        ? lacks('python', python.message, python.help, 'python3')
        : fail('python', python.message, python.help),
    ];
  if (compareVersions(python.value, OLDEST_PYTHON) < 0) {
    return config.python.version === null
      ? [
          fail(
            'python',
            `${config.python.interpreter ?? 'python3'} is ${python.value}; ComfyUI needs ${OLDEST_PYTHON} or newer`,
            'install a newer Python and name it with PYTHON, or set python.version so that uv fetches one',
          ),
        ]
      : [
          warn(
            'python',
            `${config.python.interpreter ?? 'python3'} is ${python.value}; uv looks for ${config.python.version} instead`,
            'nothing, if uv can fetch it',
          ),
        ];
  }
  return [ok('python', `${config.python.interpreter ?? 'python3'} is ${python.value}`)];
}

export function checkUv(facts: DoctorFacts): Finding[] {
  if (isSimulator(facts)) return [];
  const { uv } = facts.programs;
  return [ok('uv', uv === null ? 'not on this machine: the first installation fetches it from the package index' : uv)];
}

export function checkGit(facts: DoctorFacts): Finding[] {
  const { git } = facts;
  if (!git.ok) {
    if (isSimulator(facts)) return [warn('git', git.message, git.help)];
    return [git.code === 'GIT_MISSING' ? lacks('git', git.message, git.help, 'git') : fail('git', git.message, git.help)];
  }
  if (compareVersions(git.value, OLDEST_GIT) < 0)
    return [warn('git', `git is ${git.value}; ${OLDEST_GIT} or newer is tested`, 'install a newer git')];
  return [ok('git', git.value)];
}

export function checkPm2({ pm2Pid, config, agentPid }: DoctorFacts): Finding[] {
  const { mode } = config.pm2;
  if (!pm2Pid.known) return [cannotTell('pm2', `the PM2 daemon could not be asked: ${pm2Pid.reason}`, 'see logs/pm2.log')];
  if (pm2Pid.value !== null) {
    const isOrphan = mode === 'owned' && agentPid === null;
    return [
      isOrphan
        ? warn(
            'pm2',
            `a PM2 daemon (pid ${pm2Pid.value}) of an agent that is gone still runs`,
            'nothing: the next agent takes it and its instances over',
          )
        : ok('pm2', `the daemon runs (pid ${pm2Pid.value})`),
    ];
  }
  if (mode === 'external')
    return [
      fail(
        'pm2',
        'no PM2 daemon runs, and AGENT_PM2=external leaves it to another unit',
        'start that unit (systemctl start comfylet-pm2), or set AGENT_PM2=owned',
      ),
    ];
  return [
    agentPid === null
      ? ok('pm2', 'the agent starts the daemon')
      : fail('pm2', 'the PM2 daemon does not run although the agent does', 'see logs/pm2.log; `systemctl restart comfylet`'),
  ];
}

export const checkAgent = ({ agentPid, root }: DoctorFacts): Finding[] => [
  ok('agent', agentPid === null ? `no agent is running on ${root}` : `running (pid ${agentPid})`),
];

export const checkState = ({ setAside }: DoctorFacts): Finding[] =>
  setAside.map((path) =>
    warn(
      'state',
      `a file of the agent's state was damaged, and what it held is lost: ${path}`,
      'look for faults of the disk (`dmesg`, `smartctl`), then delete it',
    ),
  );

export const checkLeftovers = ({ unfinishedReleases, unhosted, agentPid }: DoctorFacts): Finding[] => [
  ...(unfinishedReleases.length === 0
    ? []
    : [warn('leftovers', `half built: ${unfinishedReleases.join(', ')}`, 'nothing: the next installation removes it')]),
  ...(unhosted.known
    ? unhosted.value.map(({ name, pids }) =>
        warn(
          'leftovers',
          `pid ${pids.join(', ')} of ${name} ${pids.length === 1 ? 'runs' : 'run'} on, and no PM2 daemon hosts ${pids.length === 1 ? 'it' : 'them'}`,
          agentPid === null
            ? 'start the agent: it replaces them when their jobs are done'
            : 'nothing: they are replaced when their jobs are done',
        ),
      )
    : [cannotTell('leftovers', `whether instances run on without PM2 could not be seen: ${unhosted.reason}`, 'see the row "pm2"')]),
];
