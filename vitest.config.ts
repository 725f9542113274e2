import { defineConfig } from 'vitest/config';

const project = (name: string, include: string[], testTimeout: number, fileParallelism = true) => ({
  extends: true as const,
  test: { name, include, testTimeout, hookTimeout: testTimeout, fileParallelism },
});

// Unit and engine tests are pure and run side by side; the others start real processes, so they run one file at a time.
export default defineConfig({
  test: {
    passWithNoTests: false,
    projects: [
      project('unit', ['test/unit/**/*.test.ts', 'test/architecture.test.ts'], 10_000),
      project('engine', ['test/engine/**/*.test.ts'], 20_000),
      project('contract', ['test/contract/**/*.test.ts'], 120_000, false),
      project('e2e', ['test/e2e/**/*.test.ts'], 180_000, false),
      // Long, and only with --all or by name: installations that are killed.
      project('kills', ['test/kills/**/*.test.ts'], 180_000, false),
      // Long as well: every fault of docs/faults.md, and a storm of them. Each file minds its own agents side by side.
      project('faults', ['test/faults/**/*.test.ts'], 600_000, false),
      // Only by name: they need a real ComfyUI, or a GPU, and are skipped with the reason where there is none.
      project('real', ['test/real/**/*.test.ts'], 1_200_000, false),
      project('gpu', ['test/gpu/**/*.test.ts'], 1_800_000, false),
    ],
  },
});
