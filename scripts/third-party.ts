import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ThirdParty } from '../src/domain/reports/third-party.ts';

/** What the program is made of, from what the bundler really took in. */

/** Paths of bundled files, relative to the repository, to the directories of their packages. */
function packageDirectories(inputs: readonly string[]): readonly string[] {
  const found = inputs.flatMap((input) => /^((?:node_modules\/.*)?node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(input)?.[1] ?? []);
  return [...new Set(found)].sort();
}

/**
 * Name, version, licence and its text of each package, in the order of their names, and of Node.js at the end.
 * @throws Error when one has neither a licence field nor a licence file
 */
export function thirdParties(root: string, inputs: readonly string[]): readonly ThirdParty[] {
  const packages = [...packageDirectories(inputs), 'node_modules/swagger-ui-dist'].map((directory) => read(join(root, directory)));
  const distinct = new Map(packages.map((each) => [`${each.name}@${each.version}`, each]));
  const node = {
    name: 'node',
    version: process.versions.node,
    licence: 'MIT',
    // Its own, and those of V8, OpenSSL and the others inside it.
    text: readFileSync(join(root, `assets/licenses/node-${process.versions.node}.txt`), 'utf8'),
  };
  return [...[...distinct.values()].sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0)), node];
}

function read(directory: string): ThirdParty {
  const manifest = JSON.parse(readFileSync(join(directory, 'package.json'), 'utf8')) as {
    name: string;
    version: string;
    license?: string | { type: string };
  };
  const licence = typeof manifest.license === 'object' ? manifest.license.type : manifest.license;
  // The longest is the text; a short one may only name it.
  const texts = readdirSync(directory)
    .filter((name) => /licen[cs]e|copying|agpl/i.test(name))
    .map((name) => readFileSync(join(directory, name), 'utf8'))
    .sort((a, b) => b.length - a.length);
  const text = texts[0] ?? licenceOfReadme(join(directory, 'README.md'));
  if (licence === undefined && text === '') throw new Error(`${manifest.name}@${manifest.version} names no licence`);
  return { name: manifest.name, version: manifest.version, licence: licence ?? 'see text', text: text.trim() };
}

/** Some say it at the end of their README only. */
function licenceOfReadme(file: string): string {
  if (!existsSync(file)) return '';
  const text = readFileSync(file, 'utf8');
  const at = text.search(/^#+ *licen[cs]e/im);
  return at === -1 ? '' : text.slice(at);
}
