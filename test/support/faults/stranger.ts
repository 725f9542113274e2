import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';

/** A process that is none of the agent's business: it writes down every signal that it is sent. */
export interface Stranger {
  readonly pid: number;
  /** What it was sent, and whether it still lives; null: nothing, and it does. */
  harm(): string | null;
  end(): Promise<void>;
}

const SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGUSR1', 'SIGUSR2', 'SIGCONT'];

async function start(body: string): Promise<Stranger> {
  const script = `for (const s of ${JSON.stringify(SIGNALS)}) process.on(s, () => console.log(s)); ${body}`;
  const child: ChildProcess = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'ignore'] });
  let said = '';
  child.stdout?.on('data', (chunk) => (said += String(chunk)));
  const exited = once(child, 'exit');
  while (!said.includes('here\n')) await Promise.race([once(child.stdout ?? child, 'data'), exited]);
  let ended = false;
  return {
    pid: child.pid ?? 0,
    harm: () => {
      if (!ended && (child.exitCode !== null || child.signalCode !== null)) return `it ended with ${child.exitCode ?? child.signalCode}`;
      const signals = said.split('\n').filter((line) => line.startsWith('SIG'));
      return signals.length === 0 ? null : `it was sent ${signals.join(', ')}`;
    },
    end: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      ended = true;
      child.kill('SIGKILL');
      await exited;
    },
  };
}

/** Listens on the port, as soon as it is free, and answers every request with "stranger". */
export const strangerOn = (tcpPort: number): Promise<Stranger> =>
  start(
    `const server = require('http').createServer((q, a) => a.end('stranger'));
     server.on('error', () => setTimeout(() => server.listen(${tcpPort}, '127.0.0.1'), 1));
     server.listen(${tcpPort}, '127.0.0.1', () => console.log('here'));`,
  );

/** Waits for the port and takes it the moment it is free: told as here before it has it. */
export const strangerWaitingFor = (tcpPort: number): Promise<Stranger> =>
  start(
    `const server = require('http').createServer((q, a) => a.end('stranger'));
     server.on('error', () => setTimeout(() => server.listen(${tcpPort}, '127.0.0.1'), 1));
     server.listen(${tcpPort}, '127.0.0.1'); console.log('here');`,
  );

/** Has a connection open to the port, as a worker has, and opens another when it is cut. */
export const clientOf = (tcpPort: number): Promise<Stranger> =>
  start(
    `const dial = () => { const socket = require('net').connect(${tcpPort}, '127.0.0.1', () => console.log('here'));
       socket.on('error', () => {}); socket.on('close', () => setTimeout(dial, 50)); }; dial();`,
  );

/** Sleeps. */
export const bystander = (): Promise<Stranger> => start(`setInterval(() => {}, 1e6); console.log('here');`);
