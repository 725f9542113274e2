import { activityProbe } from './activity.ts';
import { canaryProbe } from './canary.ts';
import { httpProbe } from './http.ts';
import { logProbe } from './log.ts';
import { nodesProbe } from './nodes.ts';
import { portProbe } from './port.ts';
import type { Probe } from './probe.ts';
import { websocketProbe } from './websocket.ts';

/** All probes of an instance, from the outside in. Adding one: a file beside these and a line here. */
export const instanceProbes: readonly Probe[] = [portProbe, httpProbe, activityProbe, logProbe, nodesProbe, canaryProbe, websocketProbe];
