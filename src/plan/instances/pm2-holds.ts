import type { Config } from '../../domain/configuration/config.ts';
import type { Pm2State } from '../../domain/instances/ownership.ts';
import { hold, type NewHold } from '../hold.ts';

/** A deaf daemon is replaced in owned mode only, and not at its first silence: its instances have to be restarted for it. */
export const isToBeReplaced = (pm2: Pm2State, config: Config['pm2'], now: number): boolean =>
  config.mode === 'owned' && pm2.state === 'deaf' && now - pm2.since >= config.deafTimeoutMs;

/** What is not done while PM2 cannot be asked: its instances serve on, nothing is started, stopped or respawned. */
export function pm2Holds(pm2: Pm2State, config: Config['pm2']): NewHold[] {
  if (pm2.state === 'answers') return [];
  const meanwhile = 'instances that run serve on; nothing is started or stopped';
  if (pm2.state === 'gone')
    return [
      hold(
        'machine',
        'PM2_GONE',
        `there is no PM2 daemon (${pm2.reason ?? 'it cannot be reached'}); ${meanwhile}`,
        config.mode === 'owned'
          ? 'nothing to do: another one is started; see logs/pm2.log when it stays'
          : '`systemctl status comfylet-pm2` and `systemctl restart comfylet-pm2`',
      ),
    ];
  return [
    hold(
      'machine',
      'PM2_DEAF',
      `the PM2 daemon takes connections and answers nothing; ${meanwhile}`,
      config.mode === 'owned'
        ? `nothing to do: it is replaced after ${Math.round(config.deafTimeoutMs / 1_000)} s`
        : '`systemctl restart comfylet-pm2`',
    ),
  ];
}
