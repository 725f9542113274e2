import { isSea } from 'node:sea';

/** A program that calls itself a newer agent, and ends as soon as it is to do something: what nobody wants to upgrade to. */

declare const __AGENT_VERSION__: string;
declare const __PM2_VERSION__: string;

if (process.argv[2] === 'version') {
  process.stdout.write(
    JSON.stringify({
      agent: __AGENT_VERSION__,
      commit: null,
      node: process.versions.node,
      pm2: __PM2_VERSION__,
      licence: 'AGPL-3.0-only',
      arch: process.arch,
      singleFile: isSea(),
      stateVersion: 1,
      build: null,
    }),
  );
} else {
  process.stderr.write('this program is broken\n');
  process.exit(1);
}
