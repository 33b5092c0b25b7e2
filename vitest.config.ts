import { configDefaults, defineConfig } from "vitest/config";

const virtualGpu = process.platform === "linux" && process.arch === "x64";
if (!virtualGpu) console.warn("test/vgpu is skipped: the virtual GPU runs on Linux, x86-64");

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    exclude: [...configDefaults.exclude, ...(virtualGpu ? [] : ["test/vgpu/**"])],
    pool: "forks", // a native abort ends one file's process, not the run
    maxWorkers: 2,
    testTimeout: 60_000,
    typecheck: { enabled: true, include: ["test/types/**/*.test-d.ts"], tsconfig: "./tsconfig.test.json" },
  },
});
