import type { FaultRow } from '../support/faults/row.ts';
import { agentRows } from './rows/agent.ts';
import { cardVerdictRows } from './rows/card-verdicts.ts';
import { cardRows } from './rows/cards.ts';
import { endRows } from './rows/ends.ts';
import { fileRows } from './rows/files.ts';
import { healingRows } from './rows/healing.ts';
import { installRows } from './rows/installs.ts';
import { intrusionRows } from './rows/intrusions.ts';
import { pm2Rows } from './rows/pm2.ts';
import { portRows } from './rows/ports.ts';
import { restartRows } from './rows/restarts.ts';
import { silenceRows } from './rows/silence.ts';
import { verdictRows } from './rows/verdicts.ts';

/** Every fault that is tested, in the order of docs/faults.md. */
export const faultRows: readonly FaultRow[] = [
  ...endRows,
  ...silenceRows,
  ...portRows,
  ...pm2Rows,
  ...agentRows,
  ...cardRows,
  ...cardVerdictRows,
  ...restartRows,
  ...verdictRows,
  ...healingRows,
  ...fileRows,
  ...installRows,
  ...intrusionRows,
];
