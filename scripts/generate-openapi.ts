/**
 * Writes docs/openapi.json from the routes and their schemas. With --check it only tells whether the file is up to date
 * (exit status 1 when not), so that the document can never drift from the program.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { anApi } from '../test/support/machine/api.ts';

const file = join(import.meta.dirname, '..', 'docs', 'openapi.json');
const api = await anApi();
const text = `${JSON.stringify(await api.openApi(), null, 2)}\n`;
await api.close();

if (process.argv.includes('--check')) {
  const written = await readFile(file, 'utf8').catch(() => '');
  if (written !== text) {
    console.error('docs/openapi.json differs from the routes; write it again with: node scripts/generate-openapi.ts');
    process.exitCode = 1;
  }
} else {
  await writeFile(file, text);
}
