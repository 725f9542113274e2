import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { z } from 'zod';
import { AgentError } from '../../domain/errors/errors.ts';
import type { Pm2Entry, ProcessState } from '../../domain/instances/instance.ts';
import { digestOf } from '../../domain/text/digest.ts';
import type { Pm2Paths } from './paths.ts';

/**
 * PM2 lays its own fields and the entry's variables in one table. A variable of such a name would change how PM2 treats the
 * entry (`autorestart`, `kill_timeout`), so it is refused.
 */
const PM2_FIELD =
  /^(pm_.*|axm_.*|unique_id|username|name|namespace|args|node_args|env|status|autostart|autorestart|restart_.*|max_restarts|min_uptime|kill_.*|treekill|exec_mode|exec_interpreter|merge_logs|watch|vizion.*|pmx|instances|instance_var|created_at|unstable_restarts|version|versioning|exit_code|wait_ready|listen_timeout|stop_exit_codes|cron_restart|uid|gid|prev_restart_delay|_tree_pids)$/;

/** @throws AgentError TEMPLATE_INVALID, INSTANCE_FAILED: PM2 itself would start the entry and call it online without a process */
export async function checkEntry(entry: Pm2Entry): Promise<void> {
  const taken = Object.keys(entry.env).filter((name) => PM2_FIELD.test(name));
  if (taken.length > 0) {
    throw new AgentError('TEMPLATE_INVALID', `${entry.name}: PM2 uses the variable ${taken.join(', ')} itself`, {
      help: 'give the variable another name',
    });
  }
  const directory = await stat(entry.cwd).catch(() => null);
  if (directory === null || !directory.isDirectory()) {
    throw new AgentError('INSTANCE_FAILED', `${entry.name} cannot start: its directory ${entry.cwd} does not exist`, {
      help: 'run `agent install`',
    });
  }
  await access(entry.script, constants.X_OK).catch((cause: unknown) => {
    throw new AgentError('INSTANCE_FAILED', `${entry.name} cannot start: ${entry.script} cannot be executed`, { cause });
  });
}

/**
 * The call that makes PM2 start an entry. Built here instead of by PM2's client, which would add the environment of this
 * process, change it, and create files.
 */
export const prepareArgument = (entry: Pm2Entry, paths: Pm2Paths): object => ({
  name: entry.name,
  namespace: 'default',
  exec_mode: 'fork_mode',
  exec_interpreter: entry.interpreter,
  pm_exec_path: entry.script,
  pm_cwd: entry.cwd,
  args: entry.args,
  node_args: [],
  env: { AGENT_ENTRY_DIGEST: digestOf(entry).slice(0, 16), ...entry.env },
  autostart: true,
  autorestart: entry.autorestart,
  restart_delay: entry.restart_delay,
  max_restarts: entry.max_restarts,
  min_uptime: entry.min_uptime,
  kill_timeout: entry.kill_timeout,
  treekill: entry.treekill,
  pm_out_log_path: entry.out_file,
  pm_err_log_path: entry.error_file,
  pm_pid_path: `${paths.pids}/${entry.name}.pid`,
  merge_logs: entry.merge_logs,
  pmx: entry.pmx,
  vizion: entry.vizion,
  watch: false,
});

/** Far more than a machine has cards: what answers may not be PM2. */
const MAX_ROWS = 1_000;
const MAX_NAME = 200;

const Monitored = z.object({
  pid: z.int().min(0).optional(),
  name: z.string().max(MAX_NAME),
  pm_id: z.int(),
  pm2_env: z.object({
    status: z.string(),
    restart_time: z.int().default(0),
    pm_uptime: z.number().optional(),
    kill_timeout: z.number().default(1_600),
    env: z.record(z.string(), z.unknown()).default({}),
  }),
});

/** One row of PM2's table. */
export interface Pm2Row {
  readonly id: number;
  readonly killTimeoutMs: number;
  readonly state: ProcessState;
}

const textOrNull = (value: unknown): string | null => (typeof value === 'string' ? value : null);

/** @throws AgentError PM2_UNAVAILABLE when it is not what PM2 7 answers */
export function parseRows(answer: unknown): readonly Pm2Row[] {
  const parsed = z.array(Monitored).max(MAX_ROWS).safeParse(answer);
  if (!parsed.success) throw new AgentError('PM2_UNAVAILABLE', 'the PM2 daemon answered in an unknown form', { cause: parsed.error });
  return parsed.data.map((row) => {
    const { status, env } = row.pm2_env;
    const process = row.pid === undefined || row.pid === 0 ? null : row.pid;
    return {
      id: row.pm_id,
      killTimeoutMs: row.pm2_env.kill_timeout,
      state: {
        name: row.name,
        status: trueStatus(status, process),
        // While PM2 waits for the respawn it shows the pid of the dead process.
        pid: status === 'waiting restart' ? null : process,
        respawns: row.pm2_env.restart_time,
        entryDigest: textOrNull(env['AGENT_ENTRY_DIGEST']),
        release: textOrNull(env['AGENT_RELEASE']),
        tcpPort: /^\d{1,5}$/.test(String(env['AGENT_PORT'])) ? Number(env['AGENT_PORT']) : null,
        startedAt: row.pm2_env.pm_uptime ?? null,
      },
    };
  });
}

/** PM2's word, except where it is known to be wrong: it will not start these entries by itself. */
function trueStatus(status: string, process: number | null): string {
  if (process !== null) return status;
  if (status === 'online') return 'errored';
  return status === 'waiting restart' ? 'stopped' : status;
}
