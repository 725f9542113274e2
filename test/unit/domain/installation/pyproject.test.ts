import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { pyprojectRequirements } from '../../../../src/domain/installation/pyproject.ts';

const linesOf = (text: string) => pyprojectRequirements(text)?.map(({ line, lineNumber }) => [lineNumber, line]) ?? null;

describe('dependencies of a pyproject.toml', () => {
  it('are read with their lines, comments and both kinds of strings', () => {
    expect(
      linesOf(`[build-system]
requires = ["setuptools"]

[project] # the pack
name = "a"
dependencies = [
  "numpy>=1.26,<3", # why
  'transformers[torch]', "x ; python_version < \\"3.9\\"",
  # "gone",
  "tiny @ git+https://h/o/r.git@v1",
]
[project.optional-dependencies]
dependencies = ["not-this"]
`),
    ).toEqual([
      [7, 'numpy>=1.26,<3'],
      [8, 'transformers[torch]'],
      [8, 'x ; python_version < "3.9"'],
      [10, 'tiny @ git+https://h/o/r.git@v1'],
    ]);
  });

  it.each([
    ['[project]\ndependencies = []\n', []],
    ['project.dependencies = ["six"]\n', [[1, 'six']]],
    ['[project]\r\ndependencies = ["six"]\r\n', [[2, 'six']]],
    ['[project]\ndynamic = ["dependencies"]\n', null],
    ['[tool.setuptools.dynamic]\ndependencies = { file = ["requirements.txt"] }\n', null],
    ['[tool.poetry]\ndependencies = ["no"]\n', null],
    ['[[project]]\ndependencies = ["no"]\n', null],
    ['[project]\ndependencies = [1, 2]\n', null],
    ['[project]\ndependencies = ["unclosed\n', null],
    ['[project]\ndependencies = ["six"', null],
    ['', null],
  ])('%j', (text, expected) => {
    expect(linesOf(text)).toEqual(expected);
  });

  it('never fails', () => {
    fc.assert(fc.property(fc.string(), (text) => pyprojectRequirements(`[project]\ndependencies = [${text}`) !== undefined));
  });
});
