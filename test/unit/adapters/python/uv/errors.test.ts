import { describe, expect, it } from 'vitest';
import { type UvFailure, uvError } from '../../../../../src/adapters/python/uv/errors.ts';
import type { RequirementSource } from '../../../../../src/adapters/python/uv/requirements.ts';
import { locateRequirements } from '../../../../../src/domain/installation/requirements.ts';

const source = (label: string, text: string, ...included: string[]): RequirementSource => ({
  label,
  files: [`/r/custom_nodes/${label}/requirements.txt`, ...included],
  lines: locateRequirements(text).map((located) => ({ ...located, file: 'requirements.txt', constraint: false, path: null })),
});
const failure = (output: string, sources: readonly RequirementSource[], more: Partial<UvFailure> = {}): UvFailure => ({
  output,
  timedOut: false,
  timeoutMs: 60_000,
  doing: 'resolving the requirements',
  sources,
  names: [],
  ...more,
});

// Texts as uv 0.13.8 printed them.
const conflict = `error: No solution found when resolving dependencies
  cause: Because requests>=2.33.0 depends on urllib3>=1.26,<3 and all of:
             requests>=2.30.0,<=2.31.0
         depend on urllib3>=1.21.1,<3, we can conclude that requests>=2.30.0 depends on urllib3>=1.21.1,<3.
         And because you require requests>=2.30 and urllib3<1.0, we can conclude that your requirements are unsatisfiable.`;

describe('what uv says', () => {
  it('a conflict names who asked for what, and nobody else', () => {
    const error = uvError(
      failure(conflict, [source('a', 'requests>=2.30\nsix'), source('b', 'urllib3<1.0'), source('c', 'six\nrequests')]),
    );
    expect(error.code).toBe('REQUIREMENTS_UNRESOLVED');
    expect(error.message).toBe('a requires requests>=2.30 and b requires urllib3<1.0, which cannot be met together');
    expect(error.details['labels']).toEqual(['a', 'b']);
    expect(error.details['explanation']).toContain('depends on urllib3>=1.21.1,<3');
    expect(error.details['asked']).toEqual([
      { pack: 'a', line: 'requests>=2.30', file: 'requirements.txt', lineNumber: 1 },
      { pack: 'b', line: 'urllib3<1.0', file: 'requirements.txt', lineNumber: 1 },
    ]);
  });

  it('the older layout with box drawing is read alike', () => {
    const text =
      '  × No solution found when resolving dependencies:\n  ╰─▶ Because you require six==1.16.0 and six==1.15.0, we can conclude that\n      your requirements are unsatisfiable.';
    const error = uvError(failure(text, [source('a', 'six==1.16.0'), source('b', 'six==1.15.0'), source('c', 'six')]));
    expect(error.message).toBe('a requires six==1.16.0 and b requires six==1.15.0, which cannot be met together');
    expect(error.details['labels']).toEqual(['a', 'b']);
  });

  it('a constraint that nobody of the packs asked for is the configuration', () => {
    const text =
      'error: No solution found when resolving dependencies\n  cause: Because you require torch==1.0 and torch==2.13.0+cpu, we can conclude that your requirements are unsatisfiable.';
    const error = uvError(failure(text, [source('a', 'torch==1.0')]));
    expect(error.message).toBe('a requires torch==1.0 and the configuration requires torch==2.13.0+cpu, which cannot be met together');
    expect(error.details['labels']).toEqual(['a']);
    expect(error.details['asked']).toEqual([
      { pack: 'a', line: 'torch==1.0', file: 'requirements.txt', lineNumber: 1 },
      { pack: null, line: 'torch==2.13.0+cpu', file: null, lineNumber: null },
    ]);
  });

  it('a package that does not exist', () => {
    const text =
      'error: No solution found when resolving dependencies\n  cause: Because no-such-thing was not found in the package registry and you require no-such-thing, we can conclude that your requirements are unsatisfiable.';
    const error = uvError(failure(text, [source('a', 'six'), source('b', 'no_such_thing')]));
    expect(error.message).toBe('no-such-thing was not found in the package registry and b requires no-such-thing');
    expect(error.details['labels']).toEqual(['b']);
  });

  it('a bad line names its file by the pack', () => {
    const text =
      "error: Error parsing included file in `/r/custom_nodes/b/requirements.txt` at position 0\n  cause: Couldn't parse requirement in `/r/custom_nodes/b/sub/more.txt` at position 0\n  cause: expected version to start with a number\n         x == == 3";
    const error = uvError(failure(text, [source('a', 'six'), source('b', '-r sub/more.txt', '/r/custom_nodes/b/sub/more.txt')]));
    expect(error.code).toBe('REQUIREMENTS_UNRESOLVED');
    expect(error.details['labels']).toEqual(['b']);
    expect(error.message).toContain('b/more.txt');
    expect(error.message).not.toContain('/r/custom_nodes');
  });

  it('an index that cannot be reached is not the fault of a pack', () => {
    const text =
      'error: Request failed after 3 retries in 5.6s\n  cause: Failed to fetch: https://user:secret@127.0.0.1:1/simple/six/\n  cause: error sending request\n  cause: tcp connect error\n  cause: Connection refused (os error 111)';
    const error = uvError(failure(text, [source('a', 'six')]));
    expect(error.code).toBe('ENVIRONMENT_FAILED');
    expect(error.retryable).toBe(true);
    expect(error.message).toContain('Connection refused');
    expect(JSON.stringify([error.message, error.details])).not.toContain('secret');
  });

  it('a dead link in a pack is that pack', () => {
    const text =
      'error: Failed to download `x @ http://127.0.0.1:1/x-1.0-py3-none-any.whl`\n  cause: Request failed after 3 retries\n  cause: Failed to fetch: http://127.0.0.1:1/x-1.0-py3-none-any.whl\n  cause: Connection refused (os error 111)';
    const error = uvError(failure(text, [source('a', 'six'), source('b', 'x @ http://127.0.0.1:1/x-1.0-py3-none-any.whl')]));
    expect(error.code).toBe('REQUIREMENTS_UNRESOLVED');
    expect(error.details['labels']).toEqual(['b']);
  });

  it('a repository that git cannot read is the pack that names it', () => {
    const text =
      "error: Git operation failed\n  cause: failed to clone into: cache/git-v1/db/a6\n  cause: process didn't exit successfully: `git fetch 'https://h/o/gone.git' '+HEAD'` (exit status: 128)\n         --- stderr\n         fatal: repository not found";
    const error = uvError(failure(text, [source('a', 'six'), source('b', 'git+https://h/o/gone.git@main#egg=gone')]));
    expect(error.code).toBe('REQUIREMENTS_UNRESOLVED');
    expect(error.details['labels']).toEqual(['b']);
    expect(error.message).toContain('fatal: repository not found');
  });

  it('a package that is not the locked one names both digests', () => {
    const text =
      'error: Failed to download `six==1.16.0`\n  cause: Hash mismatch for `six==1.16.0`\n\n         Expected:\n           sha256:aa\n           sha256:bb\n\n         Computed:\n           sha256:cc';
    const error = uvError(failure(text, []));
    expect(error.code).toBe('HASH_MISMATCH');
    expect(error.message).toBe('six==1.16.0 has sha256:cc instead of one of 2 locked digests (sha256:aa, …)');
    expect(uvError(failure(text.replace('           sha256:bb\n', ''), [])).message).toBe(
      'six==1.16.0 has sha256:cc instead of the locked sha256:aa',
    );
  });

  it('a full disk and a timeout', () => {
    expect(uvError(failure('error: Failed to install: x\n  cause: No space left on device (os error 28)', [source('a', 'x')])).code).toBe(
      'DISK_FULL',
    );
    const slow = uvError(failure('Downloading torch', [], { timedOut: true }));
    expect(slow).toMatchObject({
      code: 'ENVIRONMENT_FAILED',
      retryable: true,
      message: 'resolving the requirements took longer than 60 s',
    });
  });
});
