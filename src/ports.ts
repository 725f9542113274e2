/**
 * The outer world on one page: one interface for each thing outside the program. `adapters/` implements each once for
 * real, `test/fakes` once in memory, and `test/contract` runs one suite on both.
 *
 * All calls reject with AgentError only; what could not be asked is the caller's "unknown", never "failed".
 */

import type { Archives } from './ports/archives.ts';
import type { Clock } from './ports/clock.ts';
import type { Comfy } from './ports/comfyui.ts';
import type { Assets, Files } from './ports/files.ts';
import type { Git } from './ports/git.ts';
import type { Hardware } from './ports/hardware.ts';
import type { JournalStore } from './ports/journal.ts';
import type { Kernel, KernelLog } from './ports/kernel.ts';
import type { Metrics } from './ports/metrics.ts';
import type { EntryTemplate, Processes } from './ports/pm2.ts';
import type { PythonEnvironments } from './ports/python.ts';
import type { Shell } from './ports/shell.ts';
import type { Sources } from './ports/sources.ts';
import type { Upkeep } from './ports/upkeep.ts';

/** Everything outside, handed to the composition root. */
export interface Ports {
  readonly clock: Clock;
  readonly shell: Shell;
  readonly processes: Processes;
  readonly template: EntryTemplate;
  readonly kernel: Kernel;
  readonly hardware: Hardware;
  readonly kernelLog: KernelLog;
  readonly git: Git;
  readonly sources: Sources;
  readonly python: PythonEnvironments;
  readonly comfy: Comfy;
  readonly files: Files;
  readonly archives: Archives;
  readonly journal: JournalStore;
  readonly assets: Assets;
  readonly metrics: Metrics;
  readonly upkeep: Upkeep;
}
