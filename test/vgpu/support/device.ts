// The virtual GPU through its C interface, as a host program uses it.
import { fileURLToPath } from "node:url";
import koffi from "koffi";

const built = new URL("../../../build/Release/libcaracal_vgpu.so", import.meta.url);
const lib = koffi.load(process.env.CARACAL_VGPU_LIBRARY ?? fileURLToPath(built));
const api = {
  init: lib.func("int cuInit(unsigned int flags)"),
  report: lib.func("const char *caracalVgpuReport()"),
  printed: lib.func("const char *caracalVgpuPrinted()"),
  keepPrinted: lib.func("void caracalVgpuKeepPrinted(int keep)"),
  retain: lib.func("int cuDevicePrimaryCtxRetain(_Out_ void **context, int device)"),
  setCurrent: lib.func("int cuCtxSetCurrent(void *context)"),
  synchronize: lib.func("int cuCtxSynchronize()"),
  resetContext: lib.func("int cuDevicePrimaryCtxReset_v2(int device)"),
  moduleLoad: lib.func("int cuModuleLoadData(_Out_ void **module, const char *image)"),
  getFunction: lib.func("int cuModuleGetFunction(_Out_ void **f, void *module, const char *name)"),
  setAttribute: lib.func("int cuFuncSetAttribute(void *f, int attribute, int value)"),
  alloc: lib.func("int cuMemAlloc_v2(_Out_ uint64_t *address, size_t bytes)"),
  free: lib.func("int cuMemFree_v2(uint64_t address)"),
  upload: lib.func("int cuMemcpyHtoD_v2(uint64_t to, const void *from, size_t bytes)"),
  download: lib.func("int cuMemcpyDtoH_v2(_Out_ void *to, uint64_t from, size_t bytes)"),
  encodeTiled: lib.func(
    "int cuTensorMapEncodeTiled(void *map, int type, uint rank, uint64_t address, const uint64_t *sizes, const uint64_t *strides, const uint32_t *box, const uint32_t *steps, int interleave, int swizzle, int promotion, int fill)",
  ),
  launch: lib.func(
    "int cuLaunchKernel(void *f, uint gx, uint gy, uint gz, uint bx, uint by, uint bz, uint shared, void *stream, void **params, void *extra)",
  ),
  launchCooperative: lib.func(
    "int cuLaunchCooperativeKernel(void *f, uint gx, uint gy, uint gz, uint bx, uint by, uint bz, uint shared, void *stream, void **params)",
  ),
};

/** An error of the driver with the report of the virtual GPU. */
export class VgpuError extends Error {
  constructor(readonly code: number) {
    super(`CUresult ${code}: ${api.report()}`);
  }
}

function check(code: number): void {
  if (code !== 0) throw new VgpuError(code);
}

/** The kernels of tests are small, so a low budget stops endless ones soon. */
process.env.CARACAL_VGPU_BUDGET ??= "200000000";
check(api.init(0));
api.keepPrinted(1);

// As on hardware, a fault stays with its context. Modules are reloaded into the next context.
let contexts = 0;
function newContext(): void {
  const out: [unknown] = [null];
  check(api.retain(out, 0));
  check(api.setCurrent(out[0]));
  contexts++;
}
newContext();

type Bytes = ArrayBufferView<ArrayBuffer>;

/** An array with a tensor map that the kernel receives. Sizes, box and steps start with the fastest dimension. */
export interface Tensor {
  readonly tensor: Bytes;
  readonly sizes: readonly number[];
  readonly box: readonly number[];
  /** A CUtensorMapSwizzle: 0 none, 1 32 bytes, 2 64 bytes, 3 128 bytes. */
  readonly swizzle: number;
  /** A CUtensorMapDataType and its size in bytes; f32 by default. */
  readonly type?: readonly [number, number];
  /** The distance between elements of a box, in elements. */
  readonly steps?: readonly number[];
  readonly fillNan?: boolean;
}

/** The 128 bytes of a tensor map, encoded at a multiple of 64. */
function tensorMap(
  { sizes, box, swizzle, type = [7, 4], steps, fillNan = false }: Tensor,
  address: bigint,
): Uint8Array {
  const room = new Uint8Array(192);
  const map = room.subarray(Number(-BigInt(koffi.address(room)) & 63n));
  const pitch = (d: number) => sizes.slice(0, d + 1).reduce((bytes, size) => bytes * BigInt(size), BigInt(type[1]));
  const strides = BigUint64Array.from(sizes.slice(1), (_, d) => pitch(d));
  const every = Uint32Array.from(sizes, (_, d) => steps?.[d] ?? 1);
  const dims = BigUint64Array.from(sizes, BigInt);
  const boxes = Uint32Array.from(box);
  const none = 0;
  check(
    api.encodeTiled(
      map,
      type[0],
      sizes.length,
      address,
      dims,
      strides,
      boxes,
      every,
      none,
      swizzle,
      none,
      fillNan ? 1 : 0,
    ),
  );
  return map.slice(0, 128);
}

/**
 * A kernel parameter. An array is copied to device memory and receives its contents afterwards; `uninitialised`
 * allocates as many bytes without writing them.
 */
export type Argument =
  | Bytes
  | Tensor
  | { readonly uninitialised: number }
  | { readonly u32: number }
  | { readonly u64: bigint }
  | { readonly f32: number };

export interface Shape {
  readonly grid?: number | readonly [number, number, number];
  readonly block?: number | readonly [number, number, number];
  readonly shared?: number;
  /** All blocks run at the same time and may wait for each other. */
  readonly cooperative?: boolean;
}

/** The output of kernels since the last call. */
export const printed = (): string => api.printed();

/** A module loaded into the virtual GPU. */
export class PtxModule {
  #handle: unknown;
  #context = contexts;

  /** @throws VgpuError if it does not load */
  constructor(readonly ptx: string) {
    this.#load();
  }

  #load(): void {
    const out: [unknown] = [null];
    check(api.moduleLoad(out, this.ptx));
    this.#handle = out[0];
    this.#context = contexts;
  }

  /** Runs a kernel to its end. @throws VgpuError */
  run(kernel: string, shape: Shape, ...parameters: readonly Argument[]): void {
    if (this.#context !== contexts) this.#load();
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
      } else if ("tensor" in p) {
        const out: [bigint | number] = [0n];
        check(api.alloc(out, p.tensor.byteLength));
        const address = BigInt(out[0]);
        check(api.upload(address, p.tensor, p.tensor.byteLength));
        memory.push({ address, array: p.tensor });
        return tensorMap(p, address);
      } else if ("uninitialised" in p) {
        const out: [bigint | number] = [0n];
        check(api.alloc(out, p.uninitialised));
        memory.push({ address: BigInt(out[0]), array: new Uint8Array(0) });
        value.setBigUint64(0, BigInt(out[0]), true);
      } else if ("u32" in p) value.setUint32(0, p.u32, true);
      else if ("f32" in p) value.setFloat32(0, p.f32, true);
      else value.setBigUint64(0, p.u64, true);
      return new Uint8Array(value.buffer);
    });
    try {
      const [grid, block] = [triple(shape.grid), triple(shape.block)];
      const maxDynamicShared = 8;
      if ((shape.shared ?? 0) > 48 * 1024) check(api.setAttribute(f[0], maxDynamicShared, shape.shared));
      if (shape.cooperative) check(api.launchCooperative(f[0], ...grid, ...block, shape.shared ?? 0, null, values));
      else check(api.launch(f[0], ...grid, ...block, shape.shared ?? 0, null, values, null));
      check(api.synchronize());
      for (const { address, array } of memory)
        if (array.byteLength > 0) check(api.download(array, address, array.byteLength));
    } finally {
      const lasting = memory.map(({ address }) => api.free(address)).some((code) => code !== 0);
      if (lasting || api.synchronize() !== 0) {
        check(api.resetContext(0));
        newContext();
      }
    }
  }
}
