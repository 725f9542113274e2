import type { OperationDocument, OperationRequest } from '../../domain/operation.ts';
import { bytesToFree, CLOCK_JUMP_TOLD_MS } from '../../plan/upkeep/resources.ts';
import type { Operations } from '../operations.ts';
import { type CleaningContext, clean, cleanupMessage } from './cleanup/cleanup.ts';

/** How often the disks are compared with the thresholds, and whether a cleaning is due is looked at. */
const LOOK_MS = 5_000;
/** Between two cleanings of a disk that stays low. */
const LOW_AGAIN_MS = 60_000;
/** An agent that just started has more urgent things to do. */
const FIRST_AFTER_MS = 60_000;

export interface CaretakerOptions extends CleaningContext {
  readonly operations: Operations;
}

/** Cleans on a schedule, when the disk is low, and when it is asked to. */
export class Caretaker {
  readonly #options: CaretakerOptions;
  readonly #abort = new AbortController();
  #loop: Promise<void> = Promise.resolve();

  constructor(options: CaretakerOptions) {
    this.#options = options;
  }

  start(): void {
    this.#loop = this.#repeat();
  }

  async stop(): Promise<void> {
    this.#abort.abort();
    await this.#loop;
  }

  /** A look without deleting is another operation than a cleaning. */
  request({ dryRun = false }: Pick<OperationRequest, 'dryRun'>, reason = 'a cleaning was asked for'): OperationDocument {
    const { operations } = this.#options;
    return operations.start('cleanup', dryRun ? 'disk (dry run)' : 'disk', reason, async (handle) => {
      const document = await clean(this.#options, {
        dryRun,
        installing: operations.running('installation') !== null,
        signal: handle.signal,
        onProgress: (message, progress) => handle.update({ message, progress }),
      });
      handle.update({ cleanup: document });
      return cleanupMessage(document);
    });
  }

  async #repeat(): Promise<void> {
    const { ports, knowledge, operations } = this.#options;
    const { signal } = this.#abort;
    let lastLow = Number.NEGATIVE_INFINITY;
    let last = ports.clock.monotonic() - Number.MAX_SAFE_INTEGER;
    const began = ports.clock.monotonic();
    while (!signal.aborted) {
      await ports.clock.sleep(LOOK_MS, signal).catch(() => undefined);
      if (signal.aborted) return;
      const { config } = knowledge.configuration;
      const { disks, clockJumps } = knowledge.machineResources;
      const at = ports.clock.monotonic();
      const isLow = disks.some((disk) => bytesToFree(disk, config) > 0);
      // Ages are not what they seem.
      const jumped = clockJumps.some((jump) => ports.clock.now() - jump.at < CLOCK_JUMP_TOLD_MS);
      const { periodMs } = config.cleanup;
      const waits = jumped || operations.running('installation') !== null;
      const isDue = periodMs > 0 && !waits && at - last >= periodMs && at - began >= Math.min(FIRST_AFTER_MS, periodMs);
      if (isLow && at - lastLow >= LOW_AGAIN_MS) {
        lastLow = at;
        this.#begin('the disk is low');
      } else if (isDue) {
        last = at;
        this.#begin('it is time');
      }
    }
  }

  #begin(reason: string): void {
    try {
      this.request({}, reason);
    } catch {
      // The agent is stopping.
    }
  }
}
