import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CaracalError } from "../../lib/errors.js";
import { checkout } from "../../lib/native/checkout.js";
import { Device, type NativeArray } from "../../lib/tensor/tensor.js";
import { type LaunchCounts, readLaunches } from "./launches.js";

/** A CUDA device whose launches the virtual GPU counts. One per process, since a process opens one driver. */
export class CountingDevice implements AsyncDisposable {
  readonly device: Device;
  readonly #folder: string;

  /** @param folder holds the file of counters, and is deleted with the device */
  private constructor(device: Device, folder: string) {
    this.device = device;
    this.#folder = folder;
  }

  /**
   * Opens the driver that `CARACAL_CUDA_LIBRARY` names, else the virtual GPU of the checkout's build.
   * @throws {CaracalError} `UNSUPPORTED` when that is not a virtual GPU; whatever `Device.open` throws
   */
  static async open(): Promise<CountingDevice> {
    const library =
      process.env.CARACAL_CUDA_LIBRARY ?? checkout("build/Release/libcaracal_vgpu.so") ?? "libcaracal_vgpu.so";
    const unsupported = (why: string) =>
      new CaracalError("UNSUPPORTED", `only the virtual GPU counts, and ${library} ${why}`, { library });
    if (!existsSync(library))
      throw unsupported("does not exist: `npm test` builds it in a checkout (Linux, x86-64, with nvcc)");
    process.env.CARACAL_CUDA_LIBRARY = library;
    const counting = await CountingDevice.ifVirtual();
    if (!counting) throw unsupported("is another driver: unset CARACAL_CUDA_LIBRARY");
    return counting;
  }

  /**
   * Opens the CUDA driver in use, if it is the virtual GPU's.
   * @throws {CaracalError} whatever `Device.open` throws
   */
  static async ifVirtual(): Promise<CountingDevice | undefined> {
    const folder = await mkdtemp(join(tmpdir(), "caracal-counters-"));
    process.env.CARACAL_VGPU_COUNT = join(folder, "launches");
    let counting: CountingDevice | undefined;
    try {
      const device = await Device.open({ backend: "cuda" });
      if (device.virtual) counting = new CountingDevice(device, folder);
      else device.dispose();
    } finally {
      if (!counting) await rm(folder, { recursive: true });
    }
    return counting;
  }

  /** The launches that `run` makes; `run` returns an output of what it queues. */
  async launches(run: () => NativeArray): Promise<LaunchCounts[]> {
    const file = join(this.#folder, "launches");
    await this.device.synchronize();
    await writeFile(file, "");
    using output = this.device.scope(run);
    await output.ready();
    return readLaunches(file);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.device.dispose();
    await rm(this.#folder, { recursive: true });
  }
}
