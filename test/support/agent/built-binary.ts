import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';

/** The single executable. */

const REPOSITORY = resolve(import.meta.dirname, '../../..');

/** As `npm run build:binary` makes it from the bundle that is there. */
export function buildBinary(...args: readonly string[]): void {
  execFileSync(process.execPath, [join(REPOSITORY, 'scripts/build-binary.ts'), ...args], { stdio: ['ignore', 'ignore', 'pipe'] });
}

/** The one that AGENT_BINARY names, else one that is built now. */
export function theBinary(): string {
  const given = process.env['AGENT_BINARY'];
  if (given !== undefined) return resolve(given);
  buildBinary();
  const built = join(REPOSITORY, 'dist/agent');
  if (!existsSync(built)) throw new Error(`${built} was not made`);
  return built;
}
