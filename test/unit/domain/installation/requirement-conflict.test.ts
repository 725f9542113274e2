import { describe, expect, it } from 'vitest';
import { conflictsIn, conflictTable, type RequirementConflict } from '../../../../src/domain/installation/requirement-conflict.ts';

const conflicts: RequirementConflict[] = [
  { pack: 'Two', line: 'numpy>=2', file: 'requirements.txt', lineNumber: 3, against: 'One numpy<2 (requirements.txt:1)' },
  { pack: 'Another', line: null, file: null, lineNumber: null, against: 'its repository is gone' },
];

describe('conflicts for people', () => {
  it('are one table', () => {
    expect(conflictTable(conflicts)).toEqual([
      'pack     requirement                    conflicts with',
      'Two      numpy>=2 (requirements.txt:3)  One numpy<2 (requirements.txt:1)',
      'Another  its requirements               its repository is gone',
    ]);
    expect(conflictTable([])).toEqual([]);
  });

  it('are found in what another version of the agent sent, or not at all', () => {
    expect(conflictsIn({ conflicts })).toEqual(conflicts);
    for (const details of [{}, { conflicts: 'no' }, { conflicts: [{ pack: 1 }] }]) expect(conflictsIn(details)).toEqual([]);
  });
});
