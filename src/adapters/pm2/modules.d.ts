/**
 * The parts of pm2 7.0.4 that the adapter uses; pm2 ships no types for them. They are below pm2's public API on purpose: the daemon is
 * adapted through the object that PM2 calls "God".
 */
declare module 'pm2/lib/God.js' {
  interface GodProcess {
    readonly process: { readonly pid?: number };
    readonly pm2_env: {
      readonly pm_id: number;
      readonly name: string;
      readonly status: string;
      readonly kill_timeout?: number;
      readonly env?: Readonly<Record<string, unknown>>;
    };
  }
  type Callback = (error: unknown, result?: unknown) => void;
  const God: {
    readonly bus: { emit(event: string, message: object): void };
    readonly clusters_db: Record<string, GodProcess | undefined>;
    readonly Worker: { start(): void };
    pm2_being_killed?: boolean;
    handleExit(process: GodProcess, exitCode: number, signal?: string | null): unknown;
    executeApp(environment: { readonly name?: string; readonly status?: string }, callback?: Callback): unknown;
    killProcess(pid: number, environment: GodProcess['pm2_env'], callback: Callback): void;
    deleteProcessId(id: number, callback: Callback): unknown;
    getFormatedProcesses(): object[];
    getMonitorData(argument: unknown, callback: Callback): void;
    getReport(argument: unknown, callback: Callback): void;
    dumpProcessList(callback: Callback): void;
  };

  export = God;
}

declare module 'pm2/lib/Daemon.js' {
  interface Daemon {
    innerStart(ready: () => void): void;
    gracefullExit(): void;
    close(options: unknown, callback: (error: unknown, result?: unknown) => void): void;
  }
  const Daemon: new () => Daemon;

  export = Daemon;
}
