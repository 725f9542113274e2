// @ts-check
/**
 * What one ComfyUI instance looks like to PM2. A module named by `pm2.template` in the configuration may replace this one; its
 * result is checked by the same schema (Pm2Entry in src/domain/instances/instance.ts).
 */

/** PM2 puts its own fields into the environment of what it starts; packs have no use for a variable `name` or `status`. */
const PM2_VARIABLES = `
  NODE_CHANNEL_FD NODE_CHANNEL_SERIALIZATION_MODE pm_id pm_cwd pm_exec_path pm_out_log_path pm_err_log_path pm_pid_path pm_uptime unique_id
  name namespace status version created_at exec_mode exec_interpreter autostart autorestart watch treekill merge_logs pmx vizion
  vizion_running kill_timeout min_uptime max_restarts unstable_restarts restart_delay restart_time prev_restart_delay exit_code`;

/**
 * The shell opens the log and becomes python (same pid): PM2 keeps no copy of the output, and the output survives the end
 * of PM2's daemon. Its first line tells the runs apart in the log. PM2's message channel (descriptor 3) is closed, or programs
 * started by node packs would take it for theirs.
 */
const RUN = `exec >>"$AGENT_LOG_FILE" 2>&1 </dev/null 3>&-; echo "[agent] $0 starts: pid $$"; unset ${PM2_VARIABLES.trim().split(/\s+/).join(' ')}; exec "$@"`;

/**
 * Sets CPUs and niceness, then becomes the command that follows (same pid). Python does it, which is there anyway, while taskset
 * may not be. What the machine does not allow is said in the log, and the instance starts all the same.
 */
const SCHEDULE = `
import os, sys
def cpus(text):
    for part in text.split(","):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)
try:
    if sys.argv[1]:
        allowed = set(cpus(sys.argv[1])) & os.sched_getaffinity(0)
        if not allowed:
            raise OSError("none of the CPUs " + sys.argv[1] + " may be used here")
        os.sched_setaffinity(0, allowed)
    if int(sys.argv[2]):
        os.nice(int(sys.argv[2]))
except OSError as error:
    print("[agent] CPUs and niceness stay as they are:", error, flush=True)
os.execv(sys.argv[3], sys.argv[3:])`;

/** PM2 would give up after this many short lives. Giving up is the agent's decision, so it is never reached. */
const NEVER = 1_000_000_000;

/**
 * From an instance to its PM2 entry. Pure.
 *
 * @param {import('./src/domain/instances/instance.ts').InstanceLaunch} launch
 * @returns {import('./src/domain/instances/instance.ts').Pm2Entry}
 */
export function toPm2Entry(launch) {
  return {
    name: launch.name,
    script: '/bin/sh',
    args: ['-c', RUN, launch.name, ...scheduled(launch), launch.python, '-u', 'main.py', ...launch.arguments],
    interpreter: 'none',
    cwd: launch.checkout,
    // The whole environment: nothing of the agent's own gets through.
    env: { ...launch.environment, AGENT_INSTANCE: launch.name, AGENT_LOG_FILE: launch.logFile },
    filter_env: [''],
    autorestart: true,
    restart_delay: launch.restartDelayMs,
    max_restarts: NEVER,
    min_uptime: 1000,
    kill_timeout: launch.killTimeoutMs,
    treekill: true,
    // What is said before the log is open reaches the agent over PM2's bus; afterwards nothing comes this way.
    out_file: '/dev/null',
    error_file: '/dev/null',
    merge_logs: true,
    pmx: false,
    vizion: false,
  };
}

/**
 * @param {import('./src/domain/instances/instance.ts').InstanceLaunch} launch
 * @returns {string[]}
 */
function scheduled({ python, scheduling }) {
  return scheduling === undefined ? [] : [python, '-I', '-S', '-c', SCHEDULE, scheduling.cpus ?? '', String(scheduling.nice)];
}
