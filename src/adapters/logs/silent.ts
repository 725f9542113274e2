import type { Logger } from '../../ports/logs.ts';

/** Verbs print what matters to their caller; there is no log of their own. */
export const silentLog: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  child: () => silentLog,
};
