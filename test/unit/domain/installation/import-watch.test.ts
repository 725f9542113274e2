import { describe, expect, it } from 'vitest';
import { importCulprit } from '../../../../src/domain/installation/import-watch.ts';

const PACKS = ['One', 'Two', 'a b'];
const begins = (name: string) => `[agent] node pack begins: ${name}`;
const PRESTARTUP = 'Prestartup times for custom nodes:';
const IMPORT = 'Import times for custom nodes:';

describe('the node pack that ends a start', () => {
  it.each<[string, string[], object | null]>([
    ['nothing was watched', ['Traceback', 'KeyError'], null],
    ['the last that began', [begins('One'), 'hello of One', begins('Two')], { name: 'Two', deed: 'ends' }],
    ['one with a space', [begins('a b')], { name: 'a b', deed: 'ends' }],
    ['none: all were imported', [begins('One'), begins('Two'), '', IMPORT, '   0.0 seconds: /x/One', 'CUDA error'], null],
    ['none: between prestartup and import', [begins('One'), PRESTARTUP, 'libcudnn is missing'], null],
    ['one that is imported after its prestartup', [begins('One'), PRESTARTUP, begins('Two')], { name: 'Two', deed: 'ends' }],
    [
      'who closed files, though the end came later',
      [begins('One'), '[agent] files closed by node pack: One', begins('Two'), IMPORT],
      { name: 'One', deed: 'closes files' },
    ],
    ['a name that is no pack of the release', [begins('One'), begins('Somebody else')], { name: 'One', deed: 'ends' }],
    ['a line that only looks so', [` ${begins('One')}`], null],
  ])('%s', (_, log, expected) => expect(importCulprit(log, PACKS)).toEqual(expected));
});
