/**
 * The parts of pm2 7.0.4 that the adapter uses; pm2 ships no types for them. They are below pm2's public API on purpose:
 * the client needs only its socket layer, and the daemon is adapted through the object that PM2 calls "God".
 */
declare module 'pm2/modules/pm2-axon/index.js' {
  interface AxonSocket {
    set(name: 'retry timeout', value: number): void;
    connect(path: string): void;
    close(): void;
    on(event: string, listener: (argument: unknown) => void): void;
    once(event: string, listener: (argument: unknown) => void): void;
  }
  interface AxonSubscriber {
    readonly sock: AxonSocket;
    connect(path: string): void;
    close(): void;
    on(event: string, listener: (message: unknown) => void): void;
  }
  const axon: { socket(type: 'req'): AxonSocket; socket(type: 'sub-emitter'): AxonSubscriber };

  export = axon;
}

declare module 'pm2/modules/pm2-axon-rpc/index.js' {
  const rpc: {
    Client: new (
      socket: object,
    ) => { call(method: string, argument: unknown, callback: (error: Error | null, result: unknown) => void): void };
  };

  export = rpc;
}

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
