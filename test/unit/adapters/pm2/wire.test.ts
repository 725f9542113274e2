import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { encodeMessage, type Message, MessageReader } from '../../../../src/adapters/pm2/wire.ts';
import { isAgentError } from '../../../../src/domain/errors/errors.ts';

/** In pieces of these sizes, then the rest. */
const pieces = (bytes: Buffer, sizes: readonly number[]): Buffer[] => {
  const cuts: Buffer[] = [];
  let at = 0;
  for (const size of sizes) {
    cuts.push(bytes.subarray(at, at + size));
    at += size;
  }
  return [...cuts, bytes.subarray(at)];
};
const read = (parts: readonly Buffer[]): Message[] => {
  const reader = new MessageReader();
  return parts.flatMap((part) => [...reader.add(part)]);
};

describe('messages of PM2', () => {
  it('come out as they went in, whatever the pieces', () => {
    const part = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.json().map((text) => ({ value: JSON.parse(text) as unknown })),
      fc.constant(null),
    );
    const messages = fc.array(fc.array(part, { maxLength: 15 }), { maxLength: 5 });
    fc.assert(
      fc.property(messages, fc.array(fc.nat(40), { maxLength: 30 }), (all, sizes) => {
        expect(read(pieces(Buffer.concat(all.map(encodeMessage)), sizes))).toEqual(all);
      }),
    );
  });

  it('look as PM2 packs them', () => {
    const packed = Buffer.from('\x12\x00\x00\x00\x0bj:{"a":[1]}\x00\x00\x00\x06s:call', 'latin1');
    expect(encodeMessage([{ a: [1] }, 'call'])).toEqual(packed);
    expect(read([packed])).toEqual([[{ a: [1] }, 'call']]);
  });

  it.each([
    ['of another version', Buffer.from([0x21]), /another version/],
    ['that are too long', Buffer.from([0x11, 0x7f, 0xff, 0xff, 0xff]), /longer than/],
    [
      'of many parts that are too long together',
      Buffer.concat([Buffer.from([0x12, 0, 0x40, 0, 0]), Buffer.alloc(0x400000), Buffer.from([0, 0x40, 0, 0])]),
      /longer than/,
    ],
    ['that are no JSON', Buffer.from('\x11\x00\x00\x00\x03j:{', 'latin1'), /no JSON/],
  ])('%s are refused', (_, bytes, words) => {
    expect(() => read([bytes])).toThrow(expect.objectContaining({ code: 'PM2_UNAVAILABLE', message: expect.stringMatching(words) }));
  });

  it('any bytes give messages, or an error that says so', () => {
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 200 }),
      fc.uint8Array({ maxLength: 200 }).map((rest) => Uint8Array.from([0x11, 0, 0, 0, rest.length, 0x6a, 0x3a, ...rest])),
    );
    fc.assert(
      fc.property(bytes, fc.array(fc.nat(20), { maxLength: 10 }), (all, sizes) => {
        try {
          read(pieces(Buffer.from(all), sizes));
          return true;
        } catch (error) {
          return isAgentError(error);
        }
      }),
    );
  });
});
