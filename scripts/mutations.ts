import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { type Mutant, mutantsOf } from './mutants.ts';

/**
 * Changes the decisions of the program one at a time and looks whether a test notices: `npm run test:mutations`. Works on a copy.
 * `--count N` mutants (default 100) are chosen by `--seed WORD`, of files whose path matches `--files REGEX` (default: src/plan and
 * src/engine); `--only FILE:LINE` takes all of one line. A mutant that outlives its time counts as noticed: it hangs.
 */

const ROOT = resolve(import.meta.dirname, '..');
const LIMIT_MS = 240_000;

const argument = (name: string, otherwise: string): string => {
  const at = process.argv.indexOf(`--${name}`);
  return at === -1 ? otherwise : (process.argv[at + 1] ?? otherwise);
};
const count = Number(argument('count', '100'));
const seed = argument('seed', 'comfylet');
const files = new RegExp(argument('files', '^src/(plan|engine)/'));
const only = argument('only', '');

/** The same order for the same seed and the same code, whatever else was added. */
const rank = ({ file, text, after }: Mutant): string => createHash('sha256').update(`${seed}\0${file}\0${text}\0${after}`).digest('hex');

const tracked = execFileSync('git', ['ls-files', '-co', '--exclude-standard'], { cwd: ROOT, encoding: 'utf8' }).trim().split('\n');
const all = tracked
  .filter((file) => file.endsWith('.ts') && files.test(file))
  .flatMap((file) => mutantsOf(file, readFileSync(join(ROOT, file), 'utf8')));
const chosen =
  only === ''
    ? all.toSorted((a, b) => (rank(a) < rank(b) ? -1 : 1)).slice(0, count)
    : all.filter(({ file, line }) => `${file}:${line}` === only);

const copy = mkdtempSync(join(tmpdir(), 'agent-mutations-'));
for (const file of tracked) {
  mkdirSync(dirname(join(copy, file)), { recursive: true });
  cpSync(join(ROOT, file), join(copy, file));
}
symlinkSync(join(ROOT, 'node_modules'), join(copy, 'node_modules'));

function isNoticed(file: string): boolean {
  const vitest = ['node_modules/vitest/vitest.mjs', 'related', file, '--run', '--bail', '1', '--project', 'unit', '--project', 'engine'];
  return spawnSync(process.execPath, vitest, { cwd: copy, timeout: LIMIT_MS, killSignal: 'SIGKILL', stdio: 'ignore' }).status !== 0;
}

const survivors: Mutant[] = [];
try {
  for (const [position, mutant] of chosen.entries()) {
    const { file, line, before, after, source } = mutant;
    writeFileSync(join(copy, file), source);
    const noticed = isNoticed(file);
    cpSync(join(ROOT, file), join(copy, file));
    if (!noticed) survivors.push(mutant);
    console.log(`${position + 1}/${chosen.length} ${noticed ? 'noticed ' : 'SURVIVES'} ${file}:${line}  ${before} -> ${after}`);
  }
} finally {
  rmSync(copy, { recursive: true, force: true });
}
console.log(`\n${chosen.length} of ${all.length} mutants, seed ${seed}: ${survivors.length} survive`);
for (const { file, line, text, before, after } of survivors) console.log(`| ${file}:${line} | \`${before}\` -> \`${after}\` | ${text} |`);
