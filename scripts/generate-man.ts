import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { manPage } from '../src/cli/help/man.ts';
import { VERBS } from '../src/cli/verbs/verbs.ts';

/** Writes docs/agent.1 from the verbs and topics of the program; `--check` only compares. */

const path = resolve(import.meta.dirname, '../docs/agent.1');
const page = manPage(VERBS);
if (!process.argv.includes('--check')) writeFileSync(path, page);
else if (!existsSync(path) || readFileSync(path, 'utf8') !== page) {
  console.error('docs/agent.1 is not what `agent --help` says: run node scripts/generate-man.ts');
  process.exitCode = 1;
}
