import { describe, expect, it } from 'vitest';
import { readEvent } from '../../../../../src/cli/client/http.ts';
import { createTar } from '../../../../../src/cli/commands/reports/tar.ts';
import { readableLine, sinceFilter, sourcePrefix, timeOfLine } from '../../../../../src/cli/render/log-line.ts';
import { createStyle } from '../../../../../src/cli/style.ts';
import { createRedactor } from '../../../../../src/plan/text/redact-text.ts';

const style = createStyle({ color: false, unicode: true });

describe('what leaves the machine', () => {
  const redactor = createRedactor({
    HF_TOKEN: 'hf_abcdefgh',
    AGENT_TOKEN: 'topsecret1',
    CUT_PK_1: 'LS0tLS1CRUdJTiBP',
    PATH: '/usr/bin',
    SSH_KEY_FILE: '/root/.ssh/id',
  });

  it.each([
    ['downloading with hf_abcdefgh now', 'downloading with *** now'],
    ['https://user:pass@host/x.git', 'https://***@host/x.git'],
    ['api_key=abcdef123 next', 'api_key=*** next'],
    ['"password": "hunter22"', '"password": "***"'],
    ['Authorization: Bearer abcdef.ghi', 'Authorization: Bearer ***'],
    ['-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n-----END OPENSSH PRIVATE KEY-----', '***'],
    ['PATH=/usr/bin key 1 of 3', 'PATH=/usr/bin key 1 of 3'],
    ['tokenFile: /etc/agent/token', 'tokenFile: /etc/agent/token'],
    ['LS0tLS1CRUdJTiBP', '***'],
  ])('%s', (before, after) => expect(redactor.text(before)).toBe(after));

  it('masks by name in documents, and keeps them JSON', () => {
    const document = {
      packs: [{ name: 'x', env: { ANY: 'literal', HF_TOKEN: 'hf_other99' } }],
      apiKey: 'k',
      url: 'https://a:b@c/d',
      count: 3,
      pid: 4711,
    };
    expect(JSON.parse(redactor.json(JSON.stringify(document)))).toEqual({
      packs: [{ name: 'x', env: { ANY: '***', HF_TOKEN: '***' } }],
      apiKey: '***',
      url: 'https://***@c/d',
      count: 3,
      pid: 4711,
    });
  });
});

describe('tar', () => {
  it('writes headers whose sum is right, and whole blocks', () => {
    const tar = createTar(
      [
        { name: 'a/b.txt', content: 'hällo' },
        { name: 'empty', content: '' },
      ],
      Date.parse('2026-11-21T12:00:00Z'),
    );
    expect(tar.length).toBe(512 * 5);
    expect(tar.toString('utf8', 0, 7)).toBe('a/b.txt');
    expect(tar.toString('utf8', 512, 518)).toBe('hällo');
    const header = Buffer.from(tar.subarray(0, 512));
    const stored = Number.parseInt(header.toString('latin1', 148, 154), 8);
    header.fill(0x20, 148, 156);
    expect(header.reduce((sum, byte) => sum + byte, 0)).toBe(stored);
    expect(Number.parseInt(header.toString('latin1', 124, 135), 8)).toBe(6);
  });
});

describe('log lines', () => {
  const record =
    '{"level":40,"time":"2026-11-21T12:00:00.123Z","type":"instance.exit","target":"instance 1","pid":5,"cause":"boom","msg":"ended"}';
  it('are read from the record of the agent', () => {
    expect(readableLine(record, style)).toBe('2026-11-21 12:00:00 warn  instance 1: ended  cause=boom');
    expect(readableLine(record, style, true)).toContain('type=instance.exit pid=5 cause=boom');
  });

  it('of others keep their text and lose what moves the cursor', () => {
    expect(readableLine('10%|#   |\r50%|##  |\r\u001b[32m100%\u001b[0m', style)).toBe('100%');
    expect(readableLine('{"level": not json', style)).toBe('{"level": not json');
    expect(sourcePrefix('0', style)).toBe('gpu0    |');
  });

  it('know their time where they tell it', () => {
    const noon = Date.parse('2026-11-21T12:00:00Z');
    expect(timeOfLine(record)).toBe(noon + 123);
    expect(timeOfLine('[2026-11-21T12:00:00Z] x')).toBe(noon);
    expect(timeOfLine('got prompt')).toBeNull();
    const isNew = sinceFilter(noon);
    const shown = ['2026-11-21T11:59:00Z a', 'b', '2026-11-21T12:00:01Z c', 'd'].filter((line) => isNew({ source: '0', line }));
    expect(shown).toEqual(['2026-11-21T12:00:01Z c', 'd']);
  });
});

describe('server-sent events', () => {
  it('are read, comments are passed over', () => {
    expect(readEvent(': heartbeat')).toBeNull();
    expect(readEvent('retry: 3000\n: open')).toBeNull();
    expect(readEvent('id: 4\ndata: {"a":1}')).toEqual({ name: 'message', data: { a: 1 } });
    expect(readEvent('event: problem\ndata: {"error":{}}')).toEqual({ name: 'problem', data: { error: {} } });
    expect(() => readEvent('data: nonsense')).toThrowError('not JSON');
  });
});

it('masks a long line without a break in time that grows with it, and a value behind any other name', () => {
  const { text } = createRedactor({});
  expect(text('foo=bar_token=abcdefgh')).toBe('foo=bar_token=***');
  expect(text('a.b-api_key: "abcdefgh", x')).toBe('a.b-api_key: "***", x');
  expect(text(`${'x'.repeat(100)}https://u:p@host/`)).toBe(`${'x'.repeat(100)}https://***@host/`);
  for (const pump of ['x', ' ', 'a=', 'a.', 'token', 'token=', '"', '-----BEGIN ', 'bearer ']) {
    const cost = (length: number): number => {
      const line = pump.repeat(length / pump.length);
      const began = performance.now();
      text(line);
      return performance.now() - began;
    };
    const shorter = cost(200_000);
    // Quadratic would be sixteen times, and minutes.
    expect(cost(800_000)).toBeLessThan(10 * shorter + 500);
  }
});
