import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';

/** What the tests of this folder read: files of the program, their code without comments, and their imports. */

export const ROOT = resolve(import.meta.dirname, '../..');

/** Paths below the repository of all plain files below a folder of it. */
export const filesBelow = (folder: string): string[] =>
  readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(ROOT, join(entry.parentPath, entry.name)))
    .sort();

export const files = filesBelow('src').filter((file) => file.endsWith('.ts') && !file.endsWith('.d.ts'));

const texts = new Map(files.map((file) => [file, readFileSync(join(ROOT, file), 'utf8')]));
export const textOf = (file: string): string => texts.get(file) ?? '';
const codes = new Map(
  files.map((file) => [
    file,
    textOf(file)
      .replace(/\/\*[\s\S]*?\*\//g, '')
      .replace(/^\s*\/\/.*$/gm, ''),
  ]),
);
/** Without comments. */
export const codeOf = (file: string): string => codes.get(file) ?? '';

/** Files whose code has the pattern. */
export const where = (pattern: RegExp, but: (file: string) => boolean = () => false): string[] =>
  files.filter((file) => !but(file) && pattern.test(codeOf(file)));

const imports = files.flatMap((file) =>
  [...codeOf(file).matchAll(/(?:from\s+|import\(\s*|import\s+|require\(\s*|getBuiltinModule\(\s*)['"]([^'"]+)['"]/g)].map((match) => ({
    from: file,
    specifier: match[1] ?? '',
  })),
);

/** Of one file of the repository from another. */
export const internal = imports
  .filter(({ specifier }) => specifier.startsWith('.'))
  .map(({ from, specifier }) => ({ from, to: relative(ROOT, resolve(ROOT, dirname(from), specifier)) }));

const packageOf = (specifier: string): string =>
  specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');

/** Of packages. */
export const external = imports
  .filter(({ specifier }) => !specifier.startsWith('.') && !specifier.startsWith('node:'))
  .map(({ from, specifier }) => ({ from, name: packageOf(specifier) }));

/** Of node's own modules, without "node:". */
export const ofNode = imports
  .filter(({ specifier }) => specifier.startsWith('node:'))
  .map(({ from, specifier }) => ({ from, name: specifier.slice('node:'.length) }));

/** "domain", "plan", …; "main", "daemon" and the like; "outside" for what is not of the program. `ports.ts` is the page over `ports`. */
export const layerOf = (file: string): string => (file.startsWith('src/') ? (file.split('/')[1] ?? '').replace(/\.ts$/, '') : 'outside');

/** The folder in its layer; for a file of the layer's root its name with a dot before it. */
export const roomOf = (file: string): string => {
  const [, , first = '', ...rest] = file.split('/');
  return rest.length > 0 ? first : `.${first.replace(/\.ts$/, '')}`;
};

/** Circles among these arrows: each as the places that can be reached from themselves by one another. */
export function circles(arrows: readonly { readonly from: string; readonly to: string }[]): string[][] {
  const next = new Map<string, Set<string>>();
  for (const { from, to } of arrows) next.set(from, (next.get(from) ?? new Set()).add(to));
  const reached = (start: string): ReadonlySet<string> => {
    const seen = new Set<string>();
    const open = [...(next.get(start) ?? [])];
    for (let each = open.pop(); each !== undefined; each = open.pop()) {
      if (seen.has(each)) continue;
      seen.add(each);
      open.push(...(next.get(each) ?? []));
    }
    return seen;
  };
  const reach = new Map([...next.keys()].map((place) => [place, reached(place)]));
  const inCircle = [...reach].filter(([place, seen]) => seen.has(place)).map(([place]) => place);
  const together = inCircle.map((place) => inCircle.filter((other) => reach.get(place)?.has(other) && reach.get(other)?.has(place)).sort());
  return [...new Map(together.map((circle) => [circle.join(' '), circle])).values()];
}

/** Rows of the first table below a heading of ADR 15 whose first column has that title: first cell -> the others. */
export function tableOf(title: string): ReadonlyMap<string, readonly string[]> {
  const lines = readFileSync(join(ROOT, 'docs/adr/0015-rooms-by-subject.md'), 'utf8').split('\n');
  const cells = (line: string): string[] =>
    line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim());
  const head = lines.findIndex((line) => line.startsWith('|') && cells(line)[0] === title);
  if (head === -1) throw new Error(`ADR 15 has no table of "${title}"`);
  const end = lines.findIndex((line, index) => index > head && !line.startsWith('|'));
  return new Map(lines.slice(head + 2, end === -1 ? undefined : end).map((line) => [cells(line)[0] ?? '', cells(line).slice(1)]));
}

/** Words of a cell; "-" and nothing are none. */
export const words = (cell: string | undefined): string[] => (cell ?? '').split(/\s+/).filter((word) => word !== '' && word !== '-');
