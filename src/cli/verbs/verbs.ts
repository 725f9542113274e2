import type { Verb } from '../grammar/verb.ts';
import { ACT_VERBS } from './act.ts';
import { AGENT_VERBS } from './agent.ts';
import { INSTALL_VERBS } from './install.ts';
import { LOOK_VERBS } from './look.ts';

/** Every verb, in the order of `agent --help`. */
export const VERBS: readonly Verb[] = [...LOOK_VERBS, ...ACT_VERBS, ...INSTALL_VERBS, ...AGENT_VERBS];
