import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readConfiguration } from '../../../../src/plan/configuration/configuration.ts';
import { layoutOf } from '../../../../src/plan/configuration/layout.ts';
import { quickLocation } from '../../../../src/plan/configuration/quick-location.ts';

const workingDirectory = '/home/me';
const base = { rootFlag: null, environment: {}, workingDirectory, fileText: null };

describe('quickLocation', () => {
  it.each([
    [{}, { root: '/workspace', state: '/workspace/state', socket: '/workspace/run/agent.sock' }],
    [
      { rootFlag: '.quickstart' },
      { root: '/home/me/.quickstart', state: '/home/me/.quickstart/state', socket: '/home/me/.quickstart/run/agent.sock' },
    ],
    [{ environment: { WORKSPACE_PATH: '/data/' } }, { root: '/data', state: '/data/state', socket: '/data/run/agent.sock' }],
    [
      { environment: { AGENT_RUN_DIR: '/run/comfylet', AGENT_STATE_DIR: '/var/lib/comfylet' } },
      { root: '/workspace', state: '/var/lib/comfylet', socket: '/run/comfylet/agent.sock' },
    ],
    [
      { rootFlag: '/a', environment: { AGENT_ROOT: '/b' }, fileText: 'ports: { first: 9000 }' },
      { root: '/a', state: '/a/state', socket: '/a/run/agent.sock' },
    ],
  ])('%j', (change, expected) => expect(quickLocation({ ...base, ...change })).toEqual(expected));

  it.each([['root: /elsewhere'], ['runDir: /run/x'], ['{stateDir: x}'], ['"\\x72oot": /elsewhere']])(
    'leaves %s to the whole configuration',
    (fileText) => expect(quickLocation({ ...base, fileText })).toBeNull(),
  );

  it('leaves odd paths to the whole configuration', () => {
    for (const root of ['~/x', '$HOME/x', '/', 'a\0b', ' /x']) expect(quickLocation({ ...base, rootFlag: root })).toBeNull();
  });

  it('says what the whole configuration says, whenever it says something', () => {
    const path = fc.oneof(
      fc.constant(undefined),
      fc.stringMatching(/^\/?(\.\.\/|\.\/)?[a-z~$. ]{1,9}(\/[a-z.]{1,6}){0,3}\/?$/),
      fc.string({ maxLength: 12 }),
    );
    fc.assert(
      fc.property(
        path,
        path,
        path,
        path,
        fc.constantFrom(null, 'ports: { first: 1 }', 'root: /elsewhere', 'runDir: there'),
        (flag, root, state, run, text) => {
          const environment = { AGENT_ROOT: root, AGENT_STATE_DIR: state, AGENT_RUN_DIR: run };
          const quick = quickLocation({ rootFlag: flag ?? null, environment, workingDirectory, fileText: text });
          const whole = readConfiguration({
            file: text === null ? null : { path: '/etc/agent.yaml', text },
            environment,
            flags: flag === undefined ? [] : [{ key: 'root', value: flag, flag: '--root' }],
            workingDirectory,
          });
          if (quick === null || !whole.ok) return;
          const { root: wholeRoot, state: wholeState, socket } = layoutOf(whole.config);
          expect(quick).toEqual({ root: wholeRoot, state: wholeState, socket });
        },
      ),
      { numRuns: 500 },
    );
  });
});
