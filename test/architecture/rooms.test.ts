import { dirname } from 'node:path';
import { describe, expect, it } from 'vitest';
import { circles, codeOf, files, filesBelow, internal, layerOf, ofNode, roomOf, tableOf, words } from './source.ts';

/** The tables of docs/adr/0015-rooms-by-subject.md, which are read there. */

const layers = new Map([...tableOf('layer')].map(([layer, [may]]) => [layer, words(may)]));
const roots = new Map([...tableOf('root of')].map(([layer, [loop, doors]]) => [layer, { loop: words(loop), doors: words(doors) }]));
const subjects = tableOf('subject');
const WITH_SUBJECTS = ['domain', 'plan', 'engine'];

/** layer -> room -> rooms that it may import. */
const rooms = new Map<string, ReadonlyMap<string, readonly string[]>>([
  ...WITH_SUBJECTS.map((layer, column): [string, ReadonlyMap<string, readonly string[]>] => [
    layer,
    new Map([...subjects].filter(([, cells]) => cells[column] !== '').map(([room, cells]) => [room, words(cells[column])])),
  ]),
  ['adapters', new Map([...tableOf('tool')].map(([room, [may]]) => [room, words(may)]))],
  ['cli', new Map([...tableOf('of the command line')].map(([room, [may]]) => [room, words(may)]))],
]);
/** Layers whose files are their subjects. */
const FLAT = ['ports', 'probes', 'api'];

const within = (layer: string) =>
  internal
    .filter(({ from, to }) => layerOf(from) === layer && layerOf(to) === layer && from !== 'src/ports.ts' && to !== 'src/ports.ts')
    .map(({ from, to }) => ({ from: roomOf(from), to: roomOf(to), file: from, imports: to }))
    .filter(({ from, to }) => from !== to);
const isRoot = (room: string): boolean => room.startsWith('.');

describe('layers', () => {
  it('there is something to check', () => {
    expect(files.length).toBeGreaterThan(400);
    expect(internal.length).toBeGreaterThan(1_000);
    expect([...layers.keys()]).toContain('plan');
  });

  it('every file of src lies in one that is known', () => {
    expect(files.filter((file) => !layers.has(layerOf(file)))).toEqual([]);
  });

  it('look only where they may', () => {
    const across = internal.filter(({ from, to }) => layerOf(from) !== layerOf(to));
    expect(across.filter(({ from, to }) => !layers.get(layerOf(from))?.includes(layerOf(to)))).toEqual([]);
    const used = new Set(across.map(({ from, to }) => `${layerOf(from)} -> ${layerOf(to)}`));
    const allowed = [...layers].flatMap(([from, may]) => may.map((to) => `${from} -> ${to}`));
    expect(allowed.filter((arrow) => !used.has(arrow))).toEqual([]);
  });

  it('form no circle, and neither do files', () => {
    expect(circles([...layers].flatMap(([from, may]) => may.map((to) => ({ from, to }))))).toEqual([]);
    expect(circles(internal)).toEqual([]);
  });
});

describe('rooms', () => {
  it.each([...rooms.keys()])('%s: every folder and every file of its root is known', (layer) => {
    const found = new Set(files.filter((file) => layerOf(file) === layer).map(roomOf));
    const known = [...(rooms.get(layer)?.keys() ?? []), ...(roots.get(layer)?.loop ?? []).map((name) => `.${name}`)];
    expect([...found].filter((room) => !known.includes(room))).toEqual([]);
    expect(known.filter((room) => !found.has(room))).toEqual([]);
  });

  it.each(FLAT)('%s has no folders', (layer) => {
    expect(files.filter((file) => layerOf(file) === layer && file !== 'src/ports.ts' && !isRoot(roomOf(file)))).toEqual([]);
  });

  it.each([...rooms.keys()])('%s: subjects import each other along the table', (layer) => {
    const arrows = within(layer).filter(({ from, to }) => !isRoot(from) && !isRoot(to));
    expect(arrows.filter(({ from, to }) => !rooms.get(layer)?.get(from)?.includes(to))).toEqual([]);
    const used = new Set(arrows.map(({ from, to }) => `${from} -> ${to}`));
    const allowed = [...(rooms.get(layer) ?? [])].flatMap(([from, may]) => may.map((to) => `${from} -> ${to}`));
    expect(allowed.filter((arrow) => !used.has(arrow))).toEqual([]);
  });

  it.each([...rooms.keys()])('%s: subjects see of its root only what is for them', (layer) => {
    const arrows = within(layer).filter(({ from, to }) => !isRoot(from) && isRoot(to));
    const doors = roots.get(layer)?.doors ?? [];
    expect(arrows.filter(({ to }) => !doors.includes(to.slice(1)))).toEqual([]);
    expect(doors.filter((door) => !arrows.some(({ to }) => to === `.${door}`))).toEqual([]);
  });

  it.each([...rooms.keys(), ...FLAT])('%s: no circle of rooms', (layer) => {
    expect(circles(within(layer))).toEqual([]);
    expect(circles([...(rooms.get(layer) ?? [])].flatMap(([from, may]) => may.map((to) => ({ from, to }))))).toEqual([]);
  });
});

describe('folders', () => {
  it('hold at most 24 files', () => {
    const counts = new Map<string, number>();
    for (const file of [...filesBelow('src'), ...filesBelow('test')]) counts.set(dirname(file), (counts.get(dirname(file)) ?? 0) + 1);
    expect([...counts].filter(([, count]) => count > 24)).toEqual([]);
  });

  it('of tests are those of the program', () => {
    const places = new Set(files.map(dirname));
    const subject = (folder: string): boolean => subjects.has(folder) || [...places].some((place) => place.endsWith(`/${folder}`));
    const odd = filesBelow('test')
      .filter((file) => file.endsWith('.test.ts'))
      .filter((file) => {
        const [, tier = '', ...rest] = dirname(file).split('/');
        if (tier === 'unit') return !places.has(`src/${rest.join('/')}`) && !['', 'scripts', 'support'].includes(rest.join('/'));
        if (tier === 'engine' || tier === 'contract' || tier === 'e2e') return rest.length > 0 && !subject(rest.join('/'));
        return false;
      });
    expect(odd).toEqual([]);
  });
});

describe('the outside', () => {
  it("is node's own modules, too: only those of the table", () => {
    const table = [...tableOf('where')].map(([place, [modules]]) => ({ place: `src/${place}`, modules: words(modules) }));
    const rowOf = (file: string) => table.find(({ place }) => file.startsWith(`${place}/`) || file === `${place}.ts`);
    const isAllowed = ({ from, name }: { from: string; name: string }): boolean =>
      (rowOf(from)?.modules ?? []).some((allowed) => allowed === '*' || allowed === name);
    expect(ofNode.filter((each) => !isAllowed(each))).toEqual([]);
    const used = new Set(ofNode.map(({ from, name }) => `${rowOf(from)?.place} ${name}`));
    expect(table.flatMap(({ place, modules }) => modules.filter((name) => name !== '*' && !used.has(`${place} ${name}`)))).toEqual([]);
  });

  it('nobody reaches it without an import', () => {
    const mayAsk = /^src\/(adapters|cli|main\.ts|daemon\.ts|local\.ts|connect-ports\.ts)/;
    const GLOBALS =
      /\bprocess\.(env|argv|cwd|chdir|exit|std\w+|platform|hrtime|kill|on|once|umask|get(?!BuiltinModule)\w+|set\w+)\b|\bfetch\(|\bnew WebSocket\(/;
    expect(files.filter((file) => !mayAsk.test(file)).length).toBeGreaterThan(200);
    expect(files.filter((file) => !mayAsk.test(file) && GLOBALS.test(codeOf(file)))).toEqual([]);
  });
});
