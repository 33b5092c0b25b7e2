// The CUDA backend on the virtual GPU with injected faults. Each scenario runs in its own process.
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import type { DeviceList } from "../../lib/index.js";
import { addon } from "../../lib/native/addon.js";
import { tinyDirectory } from "../model/tinyModel.js";

const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url));
const library = path("../../build/Release/libcaracal_vgpu.so");
const model = { CARACAL_TEST_MODEL: await tinyDirectory() };

function run(name: string, environment: Readonly<Record<string, string>> = {}): unknown {
  const env = { ...process.env, CARACAL_CUDA_LIBRARY: library, ...environment };
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, [path("scenarios.mjs"), name], {
    env,
    encoding: "utf8",
  });
  expect({ status, signal }, stderr).toEqual({ status: 0, signal: null });
  return JSON.parse(stdout);
}
const error = (code: string, message: RegExp, details: Readonly<Record<string, unknown>> = {}) => ({
  code,
  message: expect.stringMatching(message),
  details: expect.objectContaining(details),
});

describe("a driver that cannot be used", () => {
  test("is missing", () => {
    const path = "/nowhere/libcuda.so.1";
    expect(run("open", { CARACAL_CUDA_LIBRARY: path })).toEqual(
      error("NO_DRIVER", /\/nowhere\/libcuda\.so\.1 could not be opened .*install the NVIDIA driver/, { path }),
    );
  });
  test("is not a library", () => {
    expect(run("open", { CARACAL_CUDA_LIBRARY: path("device.test.ts") })).toEqual(error("NO_DRIVER", /invalid ELF/));
  });
  test("is no file", () => {
    const folder = mkdtempSync(join(tmpdir(), "caracal-driver-"));
    const fifo = join(folder, "libcuda.so.1");
    try {
      execFileSync("mkfifo", [fifo]);
      for (const CARACAL_CUDA_LIBRARY of [fifo, folder])
        expect(run("open", { CARACAL_CUDA_LIBRARY })).toEqual(
          error("NO_DRIVER", /opened \(it is not a regular file\): /),
        );
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
  test("is another library", () => {
    expect(run("open", { CARACAL_CUDA_LIBRARY: "libm.so.6" })).toEqual(error("DRIVER_TOO_OLD", /has no cuInit/));
  });
});

test("without a GPU, Device.open() opens a CPU device and says why", () => {
  const cpu = (code: string) => ({ backend: "cpu", why: [code] });
  expect(run("auto", { CARACAL_CUDA_LIBRARY: "/nowhere/libcuda.so.1" })).toEqual(cpu("NO_DRIVER"));
  if (usable) expect(run("auto")).toEqual(cpu("UNSUPPORTED")); // a virtual GPU is opened only on request
});

test("Device.list describes the CPU, and why there is no GPU", () => {
  const cpu = { backend: "cpu", name: expect.stringMatching(/^cpu .* threads?$/), virtual: false };
  const listed = run("list", { CARACAL_CUDA_LIBRARY: "/nowhere/libcuda.so.1" }) as DeviceList;
  expect(listed).toEqual({ devices: [{ ...cpu, memory: expect.any(Number) }], why: ["NO_DRIVER"] });
  expect(listed.devices[0]!.memory).toBeGreaterThan(2 ** 28);
});

const usable = existsSync(library) && addon().cudaKernels > 0;
describe.skipIf(!usable)("on the virtual GPU", () => {
  test("an old driver is refused", () => {
    expect(run("open", { CARACAL_VGPU_FAULT: "driver:12080" })).toEqual(
      error("DRIVER_TOO_OLD", /supports CUDA 12\.8; 13\.0 or newer is needed/, { expected: "13.0", actual: "12.8" }),
    );
  });
  test("an ordinal without a GPU is refused", () => {
    const details = { argument: "ordinal", expected: "in [0, 0]", actual: "7" };
    expect(run("noSuchGpu")).toEqual(error("INVALID_ARGUMENT", /no GPU 7: the driver has 1/, details));
  });
  test("Device.list describes every GPU, and why one cannot be used", () => {
    const names = (list: unknown) => (list as DeviceList).devices.map(({ backend, ordinal }) => [backend, ordinal]);
    const two = run("list", { CARACAL_VGPU_DEVICES: "2" }) as DeviceList;
    expect(names(two)).toEqual([
      ["cuda", 0],
      ["cuda", 1],
      ["cpu", undefined],
    ]);
    expect(two.why).toEqual([]);
    const { name, virtual, memory } = two.devices[0]!;
    expect({ name, virtual }).toEqual({ name: expect.stringMatching(/^cuda .*compute capability/), virtual: true });
    expect(memory).toBeGreaterThan(2 ** 30);
    const lost = run("list", { CARACAL_VGPU_FAULT: "lost:8" });
    expect(names(lost)).toEqual([["cpu", undefined]]);
    expect(lost).toMatchObject({ why: ["DEVICE_FAULT"] });
  });
  test("two GPUs work side by side, but their tensors do not mix", () => {
    expect(run("twoGpus", { CARACAL_VGPU_DEVICES: "2" })).toEqual({
      mixed: error("DEVICE_MISMATCH", /another device/, { operation: "add", argument: "b" }),
      sums: [
        [2, 4, 6, 8],
        [2, 4, 6, 8],
      ],
    });
  });
  test("two models on two GPUs give the same reply", () => {
    const [a, b] = run("twoModels", { ...model, CARACAL_VGPU_DEVICES: "2" }) as string[];
    expect(a).not.toBe("");
    expect(b).toBe(a);
  });
  test("a reply is aborted while a graph is replayed", () => {
    expect(run("abortedReply", model)).toEqual({ aborted: "ABORTED", same: true, free: 512 });
  });
  test.each(["launch:900", "lost:3000"])("a GPU is lost during a reply, by %s", (fault) => {
    expect(run("lostAmidReply", { ...model, CARACAL_VGPU_FAULT: fault })).toEqual({
      replies: ["DEVICE_FAULT", "DEVICE_FAULT"],
      substitute: true,
    });
  });
  // Opening makes 21 calls, and the thread of its queue the 22nd; then come the tensor, the sum and its read.
  test.each([1, 2, 8, 20, 21, 22, 23, 24, 30, 36, 40])("a GPU is lost at its call %i", (call) => {
    const { failed, cpu } = run("lostAtCall", { CARACAL_VGPU_FAULT: `lost:${call}` }) as {
      failed: { code: string };
      cpu: number[];
    };
    expect(failed.code).toBe(call === 1 ? "NO_DRIVER" : "DEVICE_FAULT");
    expect(cpu).toEqual([2, 4, 6, 8]);
  });
  test("a tensor that does not fit in the GPU's memory", () => {
    const out = error(
      "OUT_OF_MEMORY",
      /out of memory: \d+ bytes were requested while \d+ are in use; the GPU has \d+ of \d+ bytes free/,
      { bytes: 40 << 20, inUse: 40 << 20 },
    );
    expect(run("outOfMemory", { CARACAL_VGPU_MEMORY: String(64 << 20) })).toEqual({
      first: out,
      spread: out,
      later: 10_000_000,
    });
  });
  test("an allocation that fails once is retried", () => {
    expect(run("allocationFails", { CARACAL_VGPU_FAULT: "alloc:2" })).toEqual([2, 4, 6, 8]);
  });
  test("a memory limit", () => {
    expect(run("memoryLimit")).toEqual({
      error: error("OUT_OF_MEMORY", /1048576 bytes were requested while 524288 are in use/, {
        bytes: 1048576,
        inUse: 524288,
      }),
      never: error("OUT_OF_MEMORY", /takes 2097152 bytes; the device has 1048576/, {
        bytes: 2097152,
        capacity: 1048576,
      }),
      later: 131072,
      memory: expect.objectContaining({ inUse: 524288 }),
    });
  });
  test("a launch fails", () => {
    const result = "CUDA_ERROR_LAUNCH_FAILED";
    const lost = error("DEVICE_FAULT", /the GPU stopped with CUDA_ERROR_LAUNCH_FAILED .* in one of: add/, {
      result,
    });
    expect(run("launchFails", { CARACAL_VGPU_FAULT: "launch:1" })).toEqual({
      first: lost,
      later: lost,
      again: error("DEVICE_FAULT", /CUDA_ERROR_LAUNCH_FAILED/, { result }),
      cpu: [2, 4, 6, 8],
    });
  });
  test("a device is disposed while it works", () => {
    expect(run("disposedInFlight")).toContain("DISPOSED");
  });
  test.each<Record<string, string>>([
    {},
    { CARACAL_VGPU_ORDER: "late" },
    ...["1", "2", "3"].flatMap((seed) =>
      ["late", "submission"].map((order) => ({ CARACAL_VGPU_SEED: seed, CARACAL_VGPU_ORDER: order })),
    ),
  ])("parallel streams, in the order %o", (order) => {
    expect(run("forks", order)).toEqual([0, 0, 0, 0, 0, 0]);
  });
  test("a launch in a graph fails", () => {
    // A replay has two launches.
    expect(run("graphLaunchFails", { CARACAL_VGPU_FAULT: "launch:5" })).toEqual([
      "no error",
      "no error",
      "DEVICE_FAULT",
      "DEVICE_FAULT",
    ]);
  });
  test("a graph that does not fit in memory", () => {
    expect(run("graphOutOfMemory")).toEqual({ outcomes: ["OUT_OF_MEMORY", "OUT_OF_MEMORY"], later: 1 << 15 });
  });
  test("a graph keeps its memory when other operations run out of memory", () => {
    expect(run("graphKeepsItsMemory")).toEqual({ outOfMemory: "OUT_OF_MEMORY", right: true });
  });
  test("a device is disposed during replays", () => {
    const codes = run("graphDisposed") as string[];
    expect(codes).toContain("DISPOSED");
    expect(codes.filter((code) => !["DISPOSED", "no error"].includes(code))).toEqual([]);
  });
  test("tensors are read back as they were written", () => {
    expect(run("bytes")).toEqual({ same: true, row: true, half: [1.5, -2], zeros: "0,0,0,0,0", empty: 0 });
  });
});
