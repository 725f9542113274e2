import type { FaultRow } from '../support/faults/row.ts';
import { endRows } from './rows/ends.ts';
import { silenceRows } from './rows/silence.ts';

/** Every fault that is tested, in the order of docs/faults.md. */
export const faultRows: readonly FaultRow[] = [...endRows, ...silenceRows];
