import { canaryProbe } from './canary.ts';
import { httpProbe } from './http.ts';
import { nodesProbe } from './nodes.ts';
import { portProbe } from './port.ts';
import type { Probe } from './probe.ts';

/** All probes of an instance, from the outside in. Adding one: a file beside these and a line here. */
export const instanceProbes: readonly Probe[] = [portProbe, httpProbe, nodesProbe, canaryProbe];
