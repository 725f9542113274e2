import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';

/**
 * Runs every check and counts it: a check that is no test file counts as one test. `--all` adds the long tiers;
 * `--install` (or CI=true) lets root install the Debian packages that some tests need.
 */

const wantsAll = process.argv.includes('--all');
const mayInstall = process.argv.includes('--install') || process.env['CI'] === 'true';
const node = process.execPath;
const totals = { passed: 0, failed: 0, skipped: 0 };
/** What failed, by name, told once more at the end: the output before is long. */
const failures: string[] = [];
const reports = mkdtempSync(join(tmpdir(), 'comfylet-reports-'));

function check(name: string, file: string, args: readonly string[]): void {
  const started = performance.now();
  const { status } = spawnSync(file, args, { stdio: 'inherit' });
  const seconds = ((performance.now() - started) / 1_000).toFixed(1);
  totals[status === 0 ? 'passed' : 'failed'] += 1;
  if (status !== 0) failures.push(name);
  console.log(`${status === 0 ? 'ok  ' : 'FAIL'} ${name} (${seconds} s)`);
}

interface Report {
  readonly numPassedTests: number;
  readonly numPendingTests: number;
  readonly numTodoTests: number;
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    readonly message: string;
    readonly assertionResults: readonly {
      readonly fullName: string;
      readonly status: string;
      readonly failureMessages?: readonly string[] | null;
    }[];
  }[];
}

const firstLine = (text: string): string => text.split('\n')[0] ?? '';

/** A file that could not even be loaded has no tests to count; it is one failure. */
function failuresOf(report: Report): readonly string[] {
  return report.testResults.flatMap((file) => {
    const name = relative(process.cwd(), file.name);
    if (file.status === 'failed' && file.assertionResults.length === 0) return [`${name}: ${firstLine(file.message)}`];
    return file.assertionResults
      .filter((test) => test.status === 'failed')
      .map((test) => `${name}: ${test.fullName}: ${firstLine(test.failureMessages?.[0] ?? '')}`);
  });
}

function vitest(project: string, environment: Readonly<Record<string, string>> = {}): void {
  const output = join(reports, `${project}.json`);
  const started = performance.now();
  const { status } = spawnSync(
    node,
    ['node_modules/vitest/vitest.mjs', 'run', '--project', project, '--reporter=default', '--reporter=json', `--outputFile.json=${output}`],
    {
      stdio: 'inherit',
      env: { ...process.env, ...environment },
    },
  );
  let failed: readonly string[] = [];
  try {
    const report = JSON.parse(readFileSync(output, 'utf8')) as Report;
    totals.passed += report.numPassedTests;
    totals.skipped += report.numPendingTests + report.numTodoTests;
    failed = failuresOf(report);
  } catch (error) {
    failed = [`${project}: no report: ${String(error)}`];
  }
  if (status !== 0 && failed.length === 0) failed = [`${project}: ended with ${status}`];
  totals.failed += failed.length;
  failures.push(...failed);
  console.log(`${status === 0 ? 'ok  ' : 'FAIL'} ${project} tests (${((performance.now() - started) / 1_000).toFixed(1)} s)`);
}

const isRoot = process.getuid?.() === 0;
if (mayInstall && isRoot && process.platform === 'linux') {
  const wanted = [
    ['/usr/sbin/sshd', 'openssh-server'],
    ['/usr/bin/ps', 'procps'],
    ['/usr/bin/git-lfs', 'git-lfs'],
    ['/usr/bin/strip', 'binutils'],
    ['/usr/bin/tini', 'tini'],
    ['/lib/systemd/systemd', 'systemd'],
    ['/usr/bin/zsh', 'zsh'],
    ['/usr/bin/fish', 'fish'],
    ['/usr/sbin/debootstrap', 'debootstrap'],
  ].filter(([file]) => spawnSync('test', ['-x', file ?? '']).status !== 0);
  if (wanted.length > 0) {
    spawnSync('apt-get', ['update', '-q'], { stdio: 'ignore' });
    // The tests start servers of their own; the packages must not start theirs.
    const { status } = spawnSync('apt-get', ['install', '-y', '-q', '--no-install-recommends', ...wanted.map(([, name]) => name ?? '')], {
      stdio: 'ignore',
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' },
    });
    console.log(`${status === 0 ? 'ok  ' : 'note'} Debian packages: ${wanted.map(([, name]) => name).join(', ')}`);
  }
}

check('types', node, ['node_modules/typescript/bin/tsc', '-p', '.']);
check('lint and format', node, ['node_modules/@biomejs/biome/bin/biome', 'ci', '--error-on-warnings', '.']);
check('unused code', node, ['node_modules/knip/bin/knip.js', '--no-progress']);
check('configuration schema up to date', node, ['scripts/generate-schema.ts', '--check']);
check('OpenAPI document up to date', node, ['scripts/generate-openapi.ts', '--check']);
check('table of faults up to date', node, ['scripts/generate-faults.ts', '--check']);
check('manual page up to date', node, ['scripts/generate-man.ts', '--check']);
check('build', node, ['scripts/build.ts']);
for (const project of ['unit', 'engine', 'contract', 'e2e']) vitest(project, wantsAll ? { AGENT_TEST_ALL: '1' } : {});
if (wantsAll) for (const project of ['host', 'kills', 'faults']) vitest(project);

rmSync(reports, { recursive: true, force: true });
for (const failure of failures) console.log(`FAIL ${failure}`);
console.log(`${totals.passed} passed, ${totals.failed} failed, ${totals.skipped} skipped`);
process.exitCode = totals.failed === 0 ? 0 : 1;
