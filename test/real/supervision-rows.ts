import { fileRows } from '../faults/rows/files.ts';
import { portRows } from '../faults/rows/ports.ts';
import { verdictRows } from '../faults/rows/verdicts.ts';
import { EXIT_MS, goesOnSaying, otherProcess, others, pids, restarted, says } from '../support/faults/expect.ts';
import type { FaultRow } from '../support/faults/row.ts';
import type { Scene } from '../support/faults/scene.ts';

/** Faults that a real ComfyUI on the CPU can show. The table of docs/faults.md has the same of the simulator. */

/** Own start of a real ComfyUI with its canary; limits are five times a figure. */
const START_MS = 15_000;
const ZOMBIE_MS = 15_000;
/** The job comes to its node first. */
const IN_A_NODE_MS = EXIT_MS + 500;

/** A node that does harm to the process it runs in. */
export const HARM_PACK = `
import os
import sys
import time


def leave(code):
    os._exit(code)


def poison():
    import execution

    def broken(*args, **kwargs):
        raise RuntimeError("the worker thread was poisoned on purpose")

    execution.PromptQueue.task_done = broken


def hold_interpreter_lock(seconds):
    began = time.perf_counter()
    sum(range(10_000_000))
    # One call of C, in which nobody else gets the lock.
    sum(range(int(10_000_000 * seconds / (time.perf_counter() - began))))


def block_event_loop(seconds):
    from server import PromptServer

    PromptServer.instance.loop.call_soon_threadsafe(time.sleep, seconds)


def refuse():
    raise ValueError("a job that fails on purpose")


HARM = {
    "exit": lambda: leave(7),
    "clean exit": lambda: leave(0),
    "sys.exit": lambda: sys.exit(0),
    "poison": poison,
    "interpreter lock": lambda: hold_interpreter_lock(8),
    "event loop": lambda: block_event_loop(30),
    "error": refuse,
}


class Harm:
    RETURN_TYPES = ()
    FUNCTION = "harm"
    CATEGORY = "harm"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"kind": ("STRING", {"default": "error"}), "seed": ("INT", {"default": 0, "min": 0, "max": 2**31})}}

    def harm(self, kind, seed):
        HARM[kind]()
        return {"ui": {}}


NODE_CLASS_MAPPINGS = {"Harm": Harm}
`;

/** Strikes, then gives instance 0 a job with that node. */
const harm = (kind: string) => async (scene: Scene) => {
  const { url, pid } = await scene.instance(0);
  scene.notes.set('pid', pid ?? 0);
  const seed = Math.floor(Math.random() * 2 ** 31);
  scene.strike();
  const { status } = await fetch(`${url}/prompt`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ prompt: { '1': { class_type: 'Harm', inputs: { kind, seed } } } }),
  });
  if (status !== 200) throw new Error(`the job was answered with ${status}`);
};

const killed = async (scene: Scene): Promise<void> => {
  const pid = await scene.pid(0);
  scene.strike();
  process.kill(pid, 'SIGKILL');
};

const respawned = (reason: RegExp): FaultRow['done'] => ({
  words: 'PM2 starts it again',
  events: [
    { type: 'instance.exit', target: 'instance 0', message: reason },
    { type: 'instance.ready', target: 'instance 0' },
  ],
  never: [{ type: 'instance.exit', target: 'instance 1' }, { type: 'action.quarantine-instance' }],
});
const nothing: FaultRow['done'] = {
  words: 'nothing',
  events: [],
  never: [{ type: 'instance.exit' }, { type: 'action.restart-instance' }, { type: 'action.quarantine-instance' }],
};

/** The same row as on the simulator, with the time that a real one takes to start. */
const asOnSimulator = (rows: readonly FaultRow[], id: string): FaultRow => {
  const row = rows.find((each) => each.id === id);
  if (row === undefined) throw new Error(`no row ${id}`);
  return { ...row, back: { ...row.back, figureMs: row.back.figureMs + START_MS } };
};

/** Its process ends, whatever ends it. */
const ends = (id: string, source: string, fault: string, inject: FaultRow['inject'], figureMs: number, reason: RegExp): FaultRow => ({
  id,
  source,
  fault,
  stage: 'eager',
  inject,
  health: [says(0, 'not ready', figureMs, { ready: false })],
  done: respawned(reason),
  untouched: [others(1)],
  back: { gpus: [0], figureMs: START_MS },
});

/** Its worker thread ends while HTTP goes on answering. */
const workerDies = (id: string, source: string, fault: string, kind: string, words: string): FaultRow => ({
  id,
  source,
  fault,
  stage: 'eager',
  inject: harm(kind),
  health: [says(0, 'worker-dead, not ready', ZOMBIE_MS, { ready: false, verdict: 'worker-dead' }), otherProcess(ZOMBIE_MS + 10_000)],
  done: restarted(words, /worker thread is dead/),
  untouched: [others(1)],
  back: { gpus: [0], figureMs: ZOMBIE_MS + START_MS },
});

export const realRows: readonly FaultRow[] = [
  ends('exit-in-a-node', 'issue "exit"', 'a node ends the process with code 7', harm('exit'), IN_A_NODE_MS, /exit code 7/),
  ends(
    'clean-exit-in-a-node',
    'issue "clean exit 0"',
    'a node ends the process with code 0',
    harm('clean exit'),
    IN_A_NODE_MS,
    /exit code 0/,
  ),
  ends('kill', 'issue "kill"', 'SIGKILL', killed, EXIT_MS, /SIGKILL/),
  asOnSimulator(verdictRows, 'stopped-for-long'),
  {
    id: 'event-loop-blocked-for-long',
    source: 'issue "hang"',
    fault: 'the event loop is blocked for longer than `health.hangIdleMs`, without use of CPU',
    stage: 'eager',
    inject: harm('event loop'),
    health: [says(0, 'hang, not ready', 6_000, { ready: false, verdict: 'hang' }), otherProcess(20_000)],
    done: restarted('it is restarted when `health.hangIdleMs` is over', /answers no HTTP/),
    untouched: [others(1)],
    back: { gpus: [0], figureMs: 10_000 + START_MS },
  },
  {
    id: 'interpreter-lock-held',
    source: 'issue "GIL stall"',
    fault: 'a node holds the interpreter lock for 8 s, at full use of a CPU',
    stage: 'eager',
    inject: harm('interpreter lock'),
    health: [says(0, 'not ready', 5_000, { ready: false }), says(0, 'busy-without-answer', 6_000, { verdict: 'busy-without-answer' })],
    done: { ...nothing, words: 'nothing: `health.hangGraceMs` is not over, and the process goes on' },
    untouched: [others(1), pids(0)],
    back: { gpus: [0], figureMs: 12_000 },
  },
  workerDies(
    'worker-poisoned',
    'issue "zombie through a pack that poisons the worker thread"',
    'a pack makes the worker thread die of an exception after a job; HTTP answers 200',
    'poison',
    'it is restarted at once',
  ),
  workerDies(
    'sys-exit-in-a-node',
    'issue "silent `sys.exit` in a node"',
    'a node calls sys.exit(): the worker thread ends without a word',
    'sys.exit',
    'it is restarted at once: the witness in the process tells',
  ),
  {
    id: 'job-fails',
    source: 'comfyui.md 3 "node ValueError"',
    fault: 'a node raises ValueError',
    stage: 'eager',
    inject: harm('error'),
    health: [goesOnSaying(0, 'ready: a job that fails is no fault of the instance', 3_000, { ready: true })],
    done: nothing,
    untouched: [others(0, 1)],
    back: { gpus: [0], figureMs: 1_000 },
  },
  asOnSimulator(portRows, 'port-taken-before-start'),
  asOnSimulator(fileRows, 'disk-full-of-outputs'),
  asOnSimulator(fileRows, 'disk-full-of-logs'),
  asOnSimulator(fileRows, 'disk-full-of-state'),
];
