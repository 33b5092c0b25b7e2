// The virtual GPU through its C interface, as a host program would use it.
import { fileURLToPath } from "node:url";
import koffi from "koffi";

const built = new URL("../../../build/Release/libcaracal_vgpu.so", import.meta.url);
const lib = koffi.load(process.env["CARACAL_VGPU_LIBRARY"] ?? fileURLToPath(built));
const api = {
  init: lib.func("int cuInit(unsigned int flags)"),
  report: lib.func("const char *caracalVgpuReport()"),
  printed: lib.func("const char *caracalVgpuPrinted()"),
  moduleLoad: lib.func("int cuModuleLoadData(_Out_ void **module, const char *image)"),
  getFunction: lib.func("int cuModuleGetFunction(_Out_ void **f, void *module, const char *name)"),
  alloc: lib.func("int cuMemAlloc_v2(_Out_ uint64_t *address, size_t bytes)"),
  free: lib.func("int cuMemFree_v2(uint64_t address)"),
  upload: lib.func("int cuMemcpyHtoD_v2(uint64_t to, const void *from, size_t bytes)"),
  download: lib.func("int cuMemcpyDtoH_v2(_Out_ void *to, uint64_t from, size_t bytes)"),
  launch: lib.func(
    "int cuLaunchKernel(void *f, uint gx, uint gy, uint gz, uint bx, uint by, uint bz, uint shared, void *stream, void **params, void *extra)",
  ),
};

/** An error of the driver, with the report of the virtual GPU. */
export class VgpuError extends Error {
  constructor(readonly code: number) {
    super(`CUresult ${code}: ${api.report()}`);
  }
}

function check(code: number): void {
  if (code !== 0) throw new VgpuError(code);
}

check(api.init(0));

type Bytes = ArrayBufferView<ArrayBuffer>;

/** A parameter of a kernel: an array stands for device memory with its contents, which it receives afterwards. */
export type Argument = Bytes | { readonly u32: number } | { readonly u64: bigint } | { readonly f32: number };

export interface Shape {
  readonly grid?: number | readonly [number, number, number];
  readonly block?: number | readonly [number, number, number];
  readonly shared?: number;
}

/** What kernels have printed since it was asked last. */
export const printed = (): string => api.printed();

/** A module of the virtual GPU. */
export class PtxModule {
  readonly #handle: unknown;

  /** @throws VgpuError when it does not load */
  constructor(readonly ptx: string) {
    const out: [unknown] = [null];
    check(api.moduleLoad(out, ptx));
    this.#handle = out[0];
  }

  /** Runs a kernel to its end. @throws VgpuError */
  run(kernel: string, shape: Shape, ...parameters: readonly Argument[]): void {
    const f: [unknown] = [null];
    check(api.getFunction(f, this.#handle, kernel));
    const triple = (n: Shape["grid"] = 1) => (typeof n === "number" ? [n, 1, 1] : n);
    const memory: { address: bigint; array: Bytes }[] = [];
    const values = parameters.map((p) => {
      const value = new DataView(new ArrayBuffer(8));
      if (ArrayBuffer.isView(p)) {
        const out: [bigint | number] = [0n];
        check(api.alloc(out, p.byteLength));
        const address = BigInt(out[0]);
        check(api.upload(address, p, p.byteLength));
        memory.push({ address, array: p });
        value.setBigUint64(0, address, true);
      } else if ("u32" in p) value.setUint32(0, p.u32, true);
      else if ("f32" in p) value.setFloat32(0, p.f32, true);
      else value.setBigUint64(0, p.u64, true);
      return new Uint8Array(value.buffer);
    });
    try {
      const [grid, block] = [triple(shape.grid), triple(shape.block)];
      check(api.launch(f[0], ...grid, ...block, shape.shared ?? 0, null, values, null));
      for (const { address, array } of memory) check(api.download(array, address, array.byteLength));
    } finally {
      for (const { address } of memory) api.free(address);
    }
  }
}
