import { createConnection } from 'node:net';
import { AgentError } from '../../domain/errors/errors.ts';

/**
 * What PM2 speaks on its sockets: AMP, version 1. A byte (version, number of parts), and of each part its length in 32 bits and its
 * bytes: `j:` and JSON, `s:` and a text, or anything. PM2's own client throws outside of every call when a part is no JSON, and reads
 * messages of any size; ComfyUI's user, and so a node pack, can put another daemon in place of PM2's.
 */
export type Message = readonly unknown[];

const VERSION = 1;
/** One of a machine with 16 instances has some hundred kB; to parse more than this would hold the event loop. */
const MAX_MESSAGE_BYTES = 8 * 1024 * 1024;
/** Of one connection, within a second. */
const MAX_BYTES_PER_S = 16 * 1024 * 1024;
const MAX_MESSAGES_PER_S = 5_000;
const [JSON_MARK, TEXT_MARK] = ['j:', 's:'];

export function encodeMessage(parts: Message): Buffer {
  const pieces: Buffer[] = [Buffer.from([(VERSION << 4) | parts.length])];
  for (const part of parts) {
    const body = Buffer.from(typeof part === 'string' ? `${TEXT_MARK}${part}` : `${JSON_MARK}${JSON.stringify(part)}`);
    const length = Buffer.alloc(4);
    length.writeUInt32BE(body.length);
    pieces.push(length, body);
  }
  return Buffer.concat(pieces);
}

/** Messages out of pieces of a stream. A piece costs no more for what came before it. */
export class MessageReader {
  #pieces: Buffer[] = [];
  #size = 0;
  /** So many bytes are needed before there is anything to see. */
  #need = 1;

  /** @throws AgentError PM2_UNAVAILABLE when it is no message, or too long */
  add(piece: Buffer): readonly Message[] {
    this.#pieces.push(piece);
    this.#size += piece.length;
    const messages: Message[] = [];
    while (this.#size >= this.#need) {
      const all = this.#pieces.length === 1 ? (this.#pieces[0] ?? piece) : Buffer.concat(this.#pieces);
      const found = cut(all);
      const rest = 'need' in found ? all : all.subarray(found.length);
      this.#pieces = rest.length === 0 ? [] : [rest];
      this.#size = rest.length;
      this.#need = 'need' in found ? found.need : 1;
      if ('parts' in found) messages.push(found.parts.map(decode));
    }
    return messages;
  }
}

type Cut = { readonly need: number } | { readonly length: number; readonly parts: readonly Buffer[] };

function cut(all: Buffer): Cut {
  const first = all[0] ?? 0;
  if (first >> 4 !== VERSION) throw foreign('it is of another version');
  const parts: Buffer[] = [];
  let at = 1;
  for (let count = first & 0xf; count > 0; count -= 1) {
    if (all.length < at + 4) return { need: at + 4 };
    const end = at + 4 + all.readUInt32BE(at);
    if (end > MAX_MESSAGE_BYTES) throw foreign(`it is longer than ${MAX_MESSAGE_BYTES} bytes`);
    if (all.length < end) return { need: end };
    parts.push(all.subarray(at + 4, end));
    at = end;
  }
  return { length: at, parts };
}

function decode(part: Buffer): unknown {
  const mark = part.toString('latin1', 0, 2);
  if (mark === TEXT_MARK) return part.toString('utf8', 2);
  if (mark !== JSON_MARK) return part;
  try {
    return JSON.parse(part.toString('utf8', 2)) as unknown;
  } catch (cause) {
    throw foreign('it is no JSON', cause);
  }
}

const foreign = (why: string, cause?: unknown): AgentError =>
  new AgentError('PM2_UNAVAILABLE', `what answers in place of the PM2 daemon sent no message of PM2: ${why}`, {
    help: 'restart the PM2 daemon: something else may have taken its place',
    cause,
  });

export interface Listeners {
  readonly onConnect: () => void;
  readonly onMessage: (message: Message) => void;
  /** Once, when there is or comes no connection; with the reason, unless the other side ended it. */
  readonly onEnd: (cause: unknown) => void;
}

export interface Connection {
  send(message: Message): void;
  /** Tells nobody. */
  close(): void;
}

/** A connection to a socket of PM2's daemon, which is refused at once where nobody listens. */
export function connectTo(socketPath: string, { onConnect, onMessage, onEnd }: Listeners): Connection {
  const socket = createConnection(socketPath);
  const reader = new MessageReader();
  let isOver = false;
  let cause: unknown;
  let [since, bytes, messages] = [performance.now(), 0, 0];
  const hear = (piece: Buffer): void => {
    if (performance.now() - since > 1_000) [since, bytes, messages] = [performance.now(), 0, 0];
    bytes += piece.length;
    for (const message of reader.add(piece)) {
      messages += 1;
      if (bytes > MAX_BYTES_PER_S || messages > MAX_MESSAGES_PER_S) throw foreign('it sends without end');
      if (!isOver) onMessage(message);
    }
  };
  socket.on('connect', onConnect);
  socket.on('data', (piece: Buffer) => {
    try {
      hear(piece);
    } catch (error) {
      cause = error;
      socket.destroy();
    }
  });
  socket.on('error', (error) => {
    cause ??= error;
  });
  socket.on('close', () => {
    if (isOver) return;
    isOver = true;
    onEnd(cause);
  });
  return {
    send: (message) => void socket.write(encodeMessage(message)),
    close: () => {
      isOver = true;
      socket.destroy();
    },
  };
}
