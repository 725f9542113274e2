/** PM2's daemon as a program of its own, run from source: what `agent __pm2-daemon` is in the bundle. */
import process from 'node:process';
import { runPm2Daemon } from '../../../src/adapters/pm2/daemon.ts';

process.exit(await runPm2Daemon({ pm2Home: process.env['PM2_HOME'] ?? '' }));
