import type { Config } from '../../domain/configuration/config.ts';

/**
 * How long jobs may go on after SIGTERM, ms: what the whole stop may take, less what ending the processes may take. Of a
 * short grace half is kept for that, as a SIGKILL from outside would end everything at once.
 */
export function stopDrainMs({ pm2, health }: Pick<Config, 'pm2' | 'health'>): number {
  if (pm2.stopGraceMs === null) return health.drainTimeoutMs;
  return pm2.stopGraceMs - Math.min(pm2.killTimeoutMs, Math.floor(pm2.stopGraceMs / 2));
}
