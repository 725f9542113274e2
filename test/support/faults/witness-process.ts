import { readFile } from 'node:fs/promises';
import { Agent, get } from 'node:http';
import { createTally, type Sample, type WitnessOrder, type WitnessReport } from './witness-tally.ts';

/**
 * A process of its own beside the agent: every 100 ms it finds out what is really so of each instance (is its process there
 * and not stopped, does it answer HTTP itself) and what health claims of it. Orders come over IPC, and so does the report.
 */

const PERIOD_MS = 100;
const HTTP_LIMIT_MS = 1_000;

interface Answer {
  readonly status: number;
  readonly text: string;
  readonly ms: number;
}

/** null: nobody answered within the limit. */
const ask = (url: string, connections?: Agent): Promise<Answer | null> =>
  new Promise((done) => {
    const began = performance.now();
    const request = get(url, { timeout: HTTP_LIMIT_MS, agent: connections ?? false }, (response) => {
      let text = '';
      response.on('data', (chunk) => (text += String(chunk)));
      response.once('error', () => done(null));
      response.once('end', () => done({ status: response.statusCode ?? 0, text, ms: performance.now() - began }));
    });
    request.once('timeout', () => request.destroy());
    request.once('error', () => done(null));
  });

/** There, and neither stopped nor a zombie. */
async function runs(pid: number | null): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => null);
  if (stat === null) return false;
  return !/^[TtZX]/.test(stat.slice(stat.lastIndexOf(')') + 2));
}

/** ComfyUI's own answer: whoever else has the port says something else. */
const isComfyui = (answer: Answer | null): boolean => answer?.status === 200 && answer.text.includes('exec_info');

/** Health is asked as load balancers ask it, over connections that stay; the instance itself over a new one each time. */
const probing = new Agent({ keepAlive: true, maxSockets: 8 });
const tally = createTally();
let agentUrl: string | null = null;
let ports: readonly number[] = [];

async function look(gpu: number, tcpPort: number): Promise<void> {
  const at = performance.now();
  const url = agentUrl;
  const [direct, claimed] = await Promise.all([
    ask(`http://127.0.0.1:${tcpPort}/prompt`),
    url === null ? null : ask(`${url}/health/comfyui/instances/${gpu}`, probing),
  ]);
  const claim = claimed === null ? null : (JSON.parse(claimed.text) as { ready: boolean; status: string; pid: number | null });
  const sample: Sample = {
    at,
    serves: isComfyui(direct) && (claim === null || claim.pid === null || (await runs(claim.pid))),
    claim: claim === null ? null : { ready: claim.ready, status: claim.status, pid: claim.pid },
    expected: url !== null && url === agentUrl,
    healthMs: claimed?.ms ?? null,
  };
  tally.add(gpu, sample);
}

/** The instances one after the other, so that the looks do not wait for each other. */
let turn = 0;
let due = performance.now();
let timer = setTimeout(next, 0);

function next(): void {
  const now = performance.now();
  tally.late(now - due);
  const tcpPort = ports[turn % Math.max(1, ports.length)];
  if (tcpPort !== undefined) void look(turn % ports.length, tcpPort);
  turn += 1;
  due = Math.max(now, due + PERIOD_MS / Math.max(1, ports.length));
  timer = setTimeout(next, due - now);
}

process.on('message', (order: WitnessOrder) => {
  if (order.kind === 'watch') ports = order.ports;
  if (order.kind === 'agent') {
    agentUrl = order.url;
    tally.agentChanged();
  }
  if (order.kind === 'fault') tally.fault(order.gpu, order.fault, order.limitMs);
  if (order.kind === 'useless') tally.useless(order.gpu, order.fault, order.limitMs);
  if (order.kind === 'stop') {
    clearTimeout(timer);
    const report: WitnessReport = tally.report();
    process.send?.(report, () => process.disconnect());
  }
});
