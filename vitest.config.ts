// The projects of the test suite; `npx vitest run --project cpu` runs one. CARACAL_TEST_MODES, which scripts/test.mjs
// sets, adds one for each mode of the virtual GPU: a folder, where each leaves the names of the kernels it launched.
// Project "packages" exists in `npm run test:packages` only.
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { defineConfig, type TestProjectConfiguration } from "vitest/config";

const virtualGpu = process.platform === "linux" && process.arch === "x64";
if (!virtualGpu) console.warn("project vgpu is left out: the virtual GPU runs on Linux, x86-64");

const files = readdirSync("test", { recursive: true, encoding: "utf8" })
  .filter((name) => name.endsWith(".test.ts"))
  .map((name) => `test/${name.replaceAll("\\", "/")}`);
const below = (...folders: string[]) =>
  files.filter((file) => folders.some((folder) => file.startsWith(`test/${folder}/`)));

/** Whether a file's tests run on a CUDA device: it imports one from test/support. */
const takesCuda = (file: string) =>
  /import \{[^}]*\b(?:allDevices|backends|cuda)\b[^}]*\} from "[./]+support\/(?:modelD|d)evices\.js"/.test(
    readFileSync(file, "utf8"),
  );
const cudaAlone = files.filter((file) => file.startsWith("test/cuda/") || file.endsWith("Cuda.test.ts"));
const onAll = below("faults"); // one project, which leaves all devices to its tests
// A file whose tests are all for a device has none without kernels, which vitest counts as a failure.
const built = "build/generated/kernels.json";
const hasKernels = existsSync(built) && JSON.parse(readFileSync(built, "utf8")).cuda;
if (!hasKernels) console.warn("the build has no CUDA kernels (`npm run build -- --cuda`): they are not tested");
const onCuda = hasKernels ? files.filter((file) => takesCuda(file) && !onAll.includes(file)) : [];
const cuda = [...new Set([...cudaAlone, ...onCuda])];
const others = [...cudaAlone, ...onAll, ...below("vgpu", "packages")];
const cpu = files.filter((file) => !others.includes(file));

const project = (name: string, include: string[], env: Record<string, string> = {}): TestProjectConfiguration => ({
  extends: true,
  test: { name, include, env },
});

/** When asynchronous copies complete, in which order warps and streams run, how tensor cores and sinf round. */
const modes: Record<string, Record<string, string>> = {
  early: { CARACAL_VGPU_ASYNC: "early", CARACAL_VGPU_SEED: "1" },
  late: { CARACAL_VGPU_ASYNC: "random", CARACAL_VGPU_SEED: "7", CARACAL_VGPU_ORDER: "late" },
  truncating: { CARACAL_VGPU_ACCUMULATION: "truncating", CARACAL_VGPU_APPROXIMATE: "1" },
};
const folder = process.env.CARACAL_TEST_MODES;
const inModes = Object.entries(folder && virtualGpu && hasKernels ? modes : {}).map(([name, mode]) => {
  const launched = join(folder!, name);
  writeFileSync(launched, "", { flag: "a" }); // so that a mode without any launch is noticed, too
  return project(
    `cuda-${name}`,
    below("ops", "tensor").filter((file) => cuda.includes(file)),
    // The accesses of kernels are checked in project cuda.
    { ...mode, CARACAL_TEST_DEVICES: "cuda", CARACAL_VGPU_CHECK: "", CARACAL_VGPU_KERNELS: launched },
  );
});

export default defineConfig({
  test: {
    pool: "forks", // a native abort ends one file's process, not the run
    maxWorkers: availableParallelism(),
    testTimeout: 120_000,
    hookTimeout: 120_000,
    projects: [
      {
        extends: true,
        test: {
          name: "types",
          include: [],
          typecheck: {
            enabled: true,
            only: true,
            include: ["test/types/**/*.test-d.ts"],
            tsconfig: "./tsconfig.test.json",
          },
        },
      },
      project("cpu", cpu, { CARACAL_TEST_DEVICES: "cpu" }),
      project("cuda", cuda, { CARACAL_TEST_DEVICES: "cuda" }),
      project("faults", onAll),
      ...(process.env.CARACAL_TEST_PACKAGES ? [project("packages", below("packages"))] : []),
      ...(virtualGpu ? [project("vgpu", below("vgpu"))] : []),
      ...inModes,
    ],
  },
});
