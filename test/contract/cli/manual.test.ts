import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { manPage } from '../../../src/cli/help/man.ts';
import { VERBS } from '../../../src/cli/verbs/verbs.ts';

/** docs/agent.1 in the programs that read it. */

const page = resolve(import.meta.dirname, '../../../docs/agent.1');
const whereIs = (file: string): string => spawnSync('sh', ['-c', `command -v ${file}`], { encoding: 'utf8' }).stdout.trim();
const man = whereIs('man');
const mandoc = whereIs('mandoc');

describe('the manual page', () => {
  it('is what the program prints', () => expect(readFileSync(page, 'utf8')).toBe(manPage(VERBS)));

  it.skipIf(man === '' || whereIs('groff') === '')('is formatted by man without a warning (skipped without man and groff)', () => {
    const env = { PATH: process.env['PATH'] ?? '', LC_ALL: 'C.UTF-8', MANWIDTH: '80' };
    const warnings = spawnSync(man, ['--warnings', '-l', '-E', 'UTF-8', '-Tutf8', '-Z', page], { env, encoding: 'utf8' });
    expect({ status: warnings.status, stderr: warnings.stderr }).toEqual({ status: 0, stderr: '' });
    const shown = spawnSync(man, ['-l', '-P', 'cat', page], { env, encoding: 'utf8' });
    expect(shown.stdout).toMatch(/^ {3}agent restart \[gpu\.\.\.\] \[options\]$|^ {7}agent restart \[gpu\.\.\.\] \[options\]$/m);
    expect(shown.stdout).toContain('--no-wait');
    expect(shown.stdout.split('\n').filter((line) => line.length > 80)).toEqual([]);
  });

  it.skipIf(mandoc === '')('has nothing that mandoc calls an error (skipped without mandoc)', () => {
    expect(spawnSync(mandoc, ['-T', 'lint', '-W', 'error', page], { encoding: 'utf8' }).stdout).toBe('');
  });
});
