import { spawnSync } from 'node:child_process';
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bashCompletion } from '../../../src/cli/completion/bash.ts';
import { fishCompletion } from '../../../src/cli/completion/fish.ts';
import { completionModel } from '../../../src/cli/completion/model.ts';
import { zshCompletion } from '../../../src/cli/completion/zsh.ts';
import { topicNames } from '../../../src/cli/help/topics.ts';
import { VERBS } from '../../../src/cli/verbs/verbs.ts';

/** The scripts in the shells that they are for. */

const model = completionModel(VERBS, topicNames(VERBS));
const visible = VERBS.filter(({ hidden }) => hidden !== true).map(({ name }) => name);
let directory = '';
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'agent-completion-'));
  await mkdir(join(directory, 'a directory'));
  await writeFile(join(directory, 'snapshot one.json'), '{}');
  await writeFile(join(directory, 'agent.bash'), bashCompletion(model));
  await writeFile(join(directory, '_agent'), zshCompletion(model));
  await writeFile(join(directory, 'agent.fish'), fishCompletion(model));
  // What the program answers is tested elsewhere; here it tells what it was asked.
  await writeFile(
    join(directory, 'agent'),
    '#!/bin/sh\n[ "$1" = __complete ] || exit 9\nif [ "$3" = --root ]; then echo "7$(basename "$4")"; exit 0; fi\n[ "$2" = gpus ] && printf "0\\n1\\n" || echo 20261121-041500-3fb07a80\n',
  );
  await chmod(join(directory, 'agent'), 0o755);
});
afterAll(() => rm(directory, { recursive: true, force: true }));

const run = (file: string, args: readonly string[], input = '') => {
  const { status, stdout, stderr } = spawnSync(file, args, {
    cwd: directory,
    input,
    encoding: 'utf8',
    timeout: 20_000,
    env: { PATH: `${directory}:${process.env['PATH'] ?? ''}`, HOME: directory, LANG: 'C.UTF-8', TERM: 'dumb' },
  });
  return { status, stdout, stderr };
};
const isThere = (shell: string): boolean => spawnSync(shell, ['--version'], { stdio: 'ignore' }).status === 0;

/** What is offered for the last word; every shell's test below asks the same. */
const cases = (
  [
    [['stat'], ['status']],
    [[''], visible, ['__complete']],
    [['logs', '--ex'], ['--export']],
    [['logs', '--fo'], ['--follow']],
    [['--ro'], ['--root']],
    [['restart', '--j'], ['--json']],
    [
      ['wait', ''],
      ['ready', 'healthy', 'installed'],
    ],
    [['wait', 'h'], ['healthy'], ['ready']],
    [['wait', 'ready', ''], ['0', '1'], ['ready']],
    [
      ['--json', 'completion', ''],
      ['bash', 'zsh', 'fish'],
    ],
    [
      ['restart', '0', ''],
      ['all', '0', '1'],
    ],
    [
      ['restart', '--timeout', '5m', '0', ''],
      ['all', '0', '1'],
    ],
    [['restart', '--timeout', ''], [], ['0', 'all']],
    [
      ['logs', ''],
      ['agent', 'install', 'pm2', 'all', '0', '1'],
    ],
    [
      ['export', '--format', ''],
      ['manager', 'desktop'],
    ],
    [['rollback', ''], ['20261121-041500-3fb07a80']],
    [
      ['help', 'ex'],
      ['exit-codes', 'export'],
    ],
    [
      ['--root', '/data/x', 'restart', ''],
      ['7x', 'all'],
    ],
    [['status', ''], [], ['0', 'status']],
  ] as readonly (readonly [words: string[], offered: string[], notOffered?: string[]])[]
).map(([words, offered, notOffered = []]) => ({ words, offered, notOffered }));

describe('bash', () => {
  const complete = (words: readonly string[]): string[] => {
    const list = ['agent', ...words].map((word) => `'${word}'`).join(' ');
    const script = `source agent.bash || exit 8; COMP_WORDS=(${list}); COMP_CWORD=$((\${#COMP_WORDS[@]} - 1)); _agent; printf '%s\\n' "\${COMPREPLY[@]}"`;
    const { status, stdout, stderr } = run('bash', ['--norc', '-c', script]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    return stdout.split('\n').filter((line) => line !== '');
  };

  it('parses', () => expect(run('bash', ['-n', 'agent.bash'])).toEqual({ status: 0, stdout: '', stderr: '' }));

  it('is bound to the command', () => {
    expect(run('bash', ['--norc', '-c', 'source agent.bash && complete -p agent']).stdout).toBe('complete -F _agent agent\n');
  });

  it.each(cases)('agent $words', ({ words, offered, notOffered }) => {
    const given = complete(words);
    expect(given).toEqual(expect.arrayContaining([...offered]));
    expect(given.filter((each) => notOffered.includes(each))).toEqual([]);
    if (offered.length === 0) expect(given).toEqual([]);
  });

  it('splits where bash splits, and takes names with spaces', () => {
    expect(complete(['--root', '=', 'a'])).toEqual(['agent', 'a directory'].filter((name) => name !== 'agent'));
    expect(complete(['import', 'snap'])).toEqual(['snapshot one.json']);
    expect(complete(['install', '--bundle', 'snap'])).toEqual(['snapshot one.json']);
    expect(complete(['update', '--core', '--dr'])).toEqual(['--dry-run']);
    expect(complete(['restart', '--', '-'])).toEqual([]);
  });

  it('is silent when the program cannot be asked', () => {
    const script = 'source agent.bash; COMP_WORDS=(/nonexistent/agent restart ""); COMP_CWORD=2; _agent; echo "$COMPREPLY"';
    expect(run('bash', ['--norc', '-c', script])).toEqual({ status: 0, stdout: 'all\n', stderr: '' });
  });
});

describe.skipIf(!isThere('zsh'))('zsh (skipped where it is not installed)', () => {
  it('parses', () => expect(run('zsh', ['-n', '_agent'])).toEqual({ status: 0, stdout: '', stderr: '' }));

  it('is bound to the command, loaded either way', () => {
    const script = 'fpath=($PWD $fpath); autoload -U compinit; compinit -u -d $PWD/dump; print $_comps[agent]';
    expect(run('zsh', ['-f', '-c', script])).toMatchObject({ status: 0, stdout: '_agent\n' });
    const sourced = 'autoload -U compinit; compinit -u -d $PWD/dump2; source ./_agent; print $_comps[agent]';
    expect(run('zsh', ['-f', '-c', sourced])).toMatchObject({ status: 0, stdout: '_agent\n' });
  });

  /** A real interactive zsh at a terminal of its own; what it lists is read until all that is expected is there. */
  const complete = (words: readonly string[], offered: readonly string[]): string => {
    const script = `
zmodload zsh/zpty
zpty z zsh -f -i
send() { zpty -w z "$1" }
until_mark() { local all= part; repeat 400; do zpty -r -t z part && all+=$part; [[ $all == *$1* ]] && break; sleep 0.02; done; print -r -- $all }
send "PS1= RPS1= PROMPT_EOL_MARK= LISTMAX=10000; fpath=($PWD \\$fpath); autoload -U compinit; compinit -u -d $PWD/dump3; zstyle ':completion:*' list-colors; setopt list_rows_first no_list_beep no_always_last_prompt no_auto_menu no_list_ambiguous; stty -echo columns 300 rows 200; print R'EAD'Y"
until_mark READY >/dev/null
send "bindkey '^X' list-choices; print B'OUN'D"
until_mark BOUND >/dev/null
zpty -w -n z $1$'\\030'
shift
all=
for word in "$@"; do repeat 400; do [[ $all == *$word* ]] && break; zpty -r -t z part && all+=$part || sleep 0.02; done; done
print -r -- $all
zpty -d z
`;
    return run('zsh', ['-f', '-s', `agent ${words.join(' ')}`, ...offered], script).stdout;
  };

  it.each(cases.filter(({ offered }) => offered.length > 1))('agent $words', ({ words, offered }) => {
    const given = complete(words, offered);
    for (const word of offered) expect(given).toContain(word);
  });
});

describe.skipIf(!isThere('fish'))('fish (skipped where it is not installed)', () => {
  const complete = (words: readonly string[]): string[] => {
    const { status, stdout, stderr } = run('fish', ['--no-config', '-c', `source agent.fish; complete -C 'agent ${words.join(' ')}'`]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    return stdout
      .split('\n')
      .map((line) => line.split('\t')[0] ?? '')
      .filter((line) => line !== '');
  };

  it('parses', () => expect(run('fish', ['--no-execute', 'agent.fish'])).toEqual({ status: 0, stdout: '', stderr: '' }));

  it.each(cases)('agent $words', ({ words, offered, notOffered }) => {
    const given = complete(words);
    expect(given).toEqual(expect.arrayContaining([...offered]));
    expect(given.filter((each) => notOffered.includes(each))).toEqual([]);
    if (offered.length === 0) expect(given).toEqual([]);
  });
});
