import { ACT_VERBS } from './verbs/act.ts';
import { AGENT_VERBS } from './verbs/agent.ts';
import { INSTALL_VERBS } from './verbs/install.ts';
import { LOOK_VERBS } from './verbs/look.ts';
import type { Verb } from './verbs/verb.ts';

/** Every verb, in the order of `agent --help`. */
export const VERBS: readonly Verb[] = [...LOOK_VERBS, ...ACT_VERBS, ...INSTALL_VERBS, ...AGENT_VERBS];
