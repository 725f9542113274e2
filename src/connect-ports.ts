import { createComfy } from './adapters/comfyui/comfyui.ts';
import { createArchives } from './adapters/files/archives.ts';
import { createAssets } from './adapters/files/assets.ts';
import { BESIDE } from './adapters/files/building.ts';
import { createFiles } from './adapters/files/files.ts';
import { createGit } from './adapters/git/git.ts';
import { createHardware } from './adapters/hardware/hardware.ts';
import { createClock } from './adapters/host/clock.ts';
import { createUpkeep } from './adapters/host/upkeep.ts';
import { createKernel } from './adapters/kernel/kernel.ts';
import { createKernelLog } from './adapters/kernel/log.ts';
import { endOrphans, unitGroup } from './adapters/kernel/orphans.ts';
import { createEntryTemplate } from './adapters/pm2/entry-template.ts';
import { createProcesses } from './adapters/pm2/pm2.ts';
import { createMetrics } from './adapters/prometheus/prometheus.ts';
import { createPythonEnvironments } from './adapters/python/python.ts';
import { borderOf, commandAs, firstUnreadable, programBehind, shareWithGroup, WITHOUT_RIGHTS } from './adapters/shell/other-user.ts';
import { createShell } from './adapters/shell/shell.ts';
import { createSources } from './adapters/sources/sources.ts';
import { createJournalStore } from './adapters/sqlite/journal.ts';
import { AGENT_UNIT } from './domain/configuration/access.ts';
import type { Config, Layout, Secrets } from './domain/configuration/config.ts';
import { CHILD_MARK, childMark } from './engine/instances/left-children.ts';
import type { Logger } from './ports/logs.ts';
import type { Ports } from './ports.ts';

export interface PortOptions {
  readonly config: Config;
  /** The configuration in force later on: what may change while the agent runs is asked of it each time. */
  readonly current?: () => Config;
  readonly layout: Layout;
  readonly secrets: Secrets;
  readonly log: Logger;
  /** How to run this program again as the PM2 daemon. */
  readonly daemonCommand: { readonly file: string; readonly args: readonly string[] };
  /** False for verbs without an agent: they look at PM2 and never start it. */
  readonly mayStartPm2: boolean;
  /** For verbs that only look: nothing is written, not even the journal. */
  readonly readOnly?: boolean;
}

/** Every adapter, once, behind its port. Heavy packages are loaded by the adapters when they are first used. */
export async function connectPorts({
  config,
  layout,
  secrets,
  log,
  daemonCommand,
  mayStartPm2,
  readOnly = false,
  current = () => config,
}: PortOptions): Promise<{ readonly ports: Ports; readonly close: () => Promise<void> }> {
  const { environment } = secrets;
  const isDivided = config.users.comfyui !== null && !readOnly;
  // Only the owner of a root marks what it starts: the next owner ends what is left of it.
  const mark = readOnly ? {} : { [CHILD_MARK]: await childMark(createFiles(), layout.root) };
  const path = environment['PATH'] ?? '/usr/local/bin:/usr/bin:/bin';
  // With a user of its own for ComfyUI, whatever packs have a hand in runs as that one: uv, which builds them, their scripts,
  // the trial start, every Python of a release. What only looks stays with the agent, without its rights.
  const { comfyui } = config.users;
  const own = createShell({ path, mark, ...(isDivided ? { prefix: WITHOUT_RIGHTS } : {}) });
  const asOther = isDivided && comfyui !== null ? await commandAs(createShell({ path }), comfyui) : null;
  const border =
    comfyui === null
      ? null
      : await borderOf(createShell({ path }), createFiles(), comfyui, process.getuid?.() ?? -1).catch(orNone(readOnly));
  // A PM2 daemon of the agent's own lives in the same control group.
  const group = asOther === null || config.pm2.mode !== 'external' ? null : unitGroup(AGENT_UNIT);
  const shell = createShell({
    path,
    mark,
    endsDaemons: !readOnly,
    ...(asOther === null ? {} : { prefix: asOther }),
    ...(border === null || group === null
      ? {}
      : {
          endOthers: async (isWanted) => {
            const names = await endOrphans({ uid: border.comfyui.uid, group }, isWanted);
            if (names.length > 0) log.info({ names }, `ended what programs of node packs had left running: ${names.join(', ')}`);
          },
        }),
  });
  const foreign = isDivided ? (border?.comfyui ?? null) : null;
  // Where another user may write, only links of root are followed.
  const disk = createFiles({ border, foreign, trust: isDivided ? new Set([0]) : null });
  const isShared = (file: string): boolean => file.startsWith(`${layout.root}/`) && !file.startsWith(`${layout.state}/`);
  const files = isDivided ? shareWithGroup(disk, isShared) : disk;
  const assets = createAssets(layout.cache);
  const recordsDirectory = `${layout.state}/trees`;
  const gitProgram = isDivided ? await own.which('git') : null;
  const git = createGit({
    ...(gitProgram === null
      ? {}
      : { gitPath: await programBehind(disk, `${layout.state}/git-without-rights`, WITHOUT_RIGHTS, gitProgram) }),
    divided:
      asOther === null
        ? null
        : {
            closed: layout.closed,
            files,
          },
    cacheDirectory: isDivided ? `${layout.closed}/git` : `${layout.cache}/git`,
    stateDirectory: `${layout.state}/git`,
    recordsDirectory,
    environment,
    ssh: {
      get keyFile() {
        return current().ssh.keyFile;
      },
      get knownHostsFile() {
        return current().ssh.knownHostsFile;
      },
      keyText: secrets.sshKey,
      knownHosts: await assets.text('known_hosts'),
    },
    gitMirror: () => current().install.gitMirror,
    timeoutMs: config.install.gitTimeoutMs,
    mark,
    log: log.child({ part: 'git' }),
  });
  const ports: Ports = {
    clock: createClock(),
    shell,
    files,
    archives: createArchives(isDivided ? { mode: 0o640 } : {}),
    assets,
    processes: createProcesses({
      pm2Home: layout.pm2Home,
      mode: mayStartPm2 ? config.pm2.mode : 'external',
      daemonCommand,
      daemonLog: `${layout.logs}/pm2.log`,
      environment: { PATH: environment['PATH'] ?? '/usr/bin:/bin' },
      log: log.child({ part: 'pm2' }),
    }),
    template: createEntryTemplate(),
    kernel: createKernel(),
    hardware: createHardware({ shell: own, queryTimeoutMs: config.gpu.queryTimeoutMs }),
    kernelLog: createKernelLog({ shell: own }),
    git,
    sources: createSources({
      recordsDirectory,
      building: isDivided ? { directory: `${layout.closed}/trees`, files } : BESIDE,
      foreign,
      ...(asOther === null ? {} : { firstUnreadable: (directory, signal) => firstUnreadable(shell, directory, signal) }),
      // What was verified is unpacked later: nobody exchanges it in between.
      cacheDirectory: isDivided ? `${layout.closed}/archives` : `${layout.cache}/archives`,
      environment,
      timeoutMs: config.install.gitTimeoutMs,
      log: log.child({ part: 'sources' }),
    }),
    python: createPythonEnvironments({
      shell,
      files,
      cacheDirectory: layout.cache,
      environment,
      timeoutMs: config.install.pythonTimeoutMs,
      log: log.child({ part: 'python' }),
    }),
    comfy: createComfy(),
    journal: createJournalStore(readOnly ? ':memory:' : layout.database, log),
    metrics: createMetrics(),
    upkeep: createUpkeep(),
  };
  return { ports, close: () => git.close() };
}

/** Who only looks says what there is to see, also where the other user is gone. */
const orNone =
  (isLooking: boolean) =>
  (error: unknown): null => {
    if (isLooking) return null;
    throw error;
  };
