import { defineConfig } from 'vitest/config';

const project = (name: string, include: string[], testTimeout: number) => ({
  extends: true as const,
  test: { name, include, testTimeout, hookTimeout: testTimeout },
});

// Unit and engine tests are pure and run side by side; contract and end-to-end tests start real
// processes, so they run one file at a time on small machines.
export default defineConfig({
  test: {
    passWithNoTests: false,
    projects: [
      project('unit', ['test/unit/**/*.test.ts', 'test/architecture.test.ts'], 10_000),
      project('engine', ['test/engine/**/*.test.ts'], 20_000),
      {
        ...project('contract', ['test/contract/**/*.test.ts'], 120_000),
        test: { ...project('contract', ['test/contract/**/*.test.ts'], 120_000).test, fileParallelism: false },
      },
      {
        ...project('e2e', ['test/e2e/**/*.test.ts'], 180_000),
        test: { ...project('e2e', ['test/e2e/**/*.test.ts'], 180_000).test, fileParallelism: false },
      },
    ],
  },
});
