import type { Logger } from '../../src/ports/logs.ts';

export interface FakeLogger extends Logger {
  /** "warn: message", children included. */
  readonly lines: readonly string[];
}

/** Keeps what was logged. */
export function createFakeLogger(): FakeLogger {
  const lines: string[] = [];
  const write = (level: string) => (_: object, message: string) => void lines.push(`${level}: ${message}`);
  const logger: FakeLogger = {
    lines,
    debug: write('debug'),
    info: write('info'),
    warn: write('warn'),
    error: write('error'),
    child: () => logger,
  };
  return logger;
}
