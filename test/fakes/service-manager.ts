import type { ServiceManager, ServiceState } from '../../src/ports/host.ts';

export interface FakeServiceManager {
  readonly manager: ServiceManager;
  /** What it was told, oldest first. */
  readonly heard: readonly ServiceState[];
}

/** A service manager in memory; one that nobody started this program for hears nothing. */
export function createFakeServiceManager(options: { readonly watchdogMs?: number; readonly absent?: boolean } = {}): FakeServiceManager {
  const heard: ServiceState[] = [];
  return {
    heard,
    manager: {
      watchdogMs: options.absent === true ? null : (options.watchdogMs ?? null),
      notify: async (state) => {
        if (options.absent !== true && Object.keys(state).length > 0) heard.push(state);
      },
    },
  };
}
