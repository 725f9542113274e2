import { defineConfig } from 'vitest/config';

const project = (
  name: string,
  include: string[],
  testTimeout: number,
  workers: { fileParallelism?: boolean; maxWorkers?: number } = {},
) => ({
  extends: true as const,
  test: { name, include, testTimeout, hookTimeout: testTimeout, ...workers },
});
const ONE_FILE_AT_A_TIME = { fileParallelism: false };

// Unit and engine tests are pure and run side by side. The others start real things, each test with a place, ports and, where it
// boots a machine, namespaces of its own: two files at a time, since they wait more than they work. Faults and what is real are
// judged by the clock: one file at a time.
export default defineConfig({
  test: {
    passWithNoTests: false,
    projects: [
      project('unit', ['test/unit/**/*.test.ts', 'test/architecture/**/*.test.ts'], 10_000),
      project('engine', ['test/engine/**/*.test.ts'], 20_000),
      project('contract', ['test/contract/**/*.test.ts'], 120_000, { maxWorkers: 2 }),
      project('e2e', ['test/e2e/**/*.test.ts'], 180_000, { maxWorkers: 2 }),
      // Long, and only with --all or by name: installations that are killed.
      project('kills', ['test/kills/**/*.test.ts'], 180_000, { maxWorkers: 2 }),
      // Long as well: every fault of docs/faults.md, and a storm of them. Each file minds its own agents side by side.
      project('faults', ['test/faults/**/*.test.ts'], 600_000, ONE_FILE_AT_A_TIME),
      // Long as well, and as root: a real systemd as PID 1 in namespaces, a real sshd, the built binary.
      project('host', ['test/host/**/*.test.ts'], 300_000, { maxWorkers: 2 }),
      // Only by name: they need a real ComfyUI, or a GPU, and are skipped with the reason where there is none.
      project('real', ['test/real/**/*.test.ts'], 1_200_000, ONE_FILE_AT_A_TIME),
      project('gpu', ['test/gpu/**/*.test.ts'], 1_800_000, ONE_FILE_AT_A_TIME),
    ],
  },
});
