import { expect } from "vitest";
import type { CaracalError } from "../../lib/errors.js";
import type { Device, Tensor } from "../../lib/tensor/tensor.js";
import { cuda, devices } from "./devices.js";

/** Expects `make` to give the same values on the CUDA backend, twice, as on the CPU, including the signs of zeros. */
export async function expectSameAsCpu(make: (device: Device) => Tensor | Tensor[]): Promise<void> {
  const read = async (device: Device) => Promise.all([make(device)].flat().map((t) => t.toFloat32Array()));
  const [once, twice, want] = [await read(cuda!), await read(cuda!), await read(devices[0]!)];
  want.forEach((values, i) => {
    for (const got of [once[i]!, twice[i]!]) {
      expect(got.length).toBe(values.length);
      expect(values.findIndex((v, j) => !Object.is(v, got[j]))).toBe(-1); // NaN may have other bits
    }
  });
}

/** Expects reading the tensors that `make` gives to fail on the CUDA backend with the same errors as on the CPU. */
export async function expectSameErrors(make: (device: Device) => Tensor[]): Promise<void> {
  const error = async (t: Tensor) =>
    await t.read().then(String, ({ code, message, details }: CaracalError) => ({ code, message, details }));
  const [actual, want] = await Promise.all([cuda!, devices[0]!].map((d) => Promise.all(make(d).map(error))));
  expect(actual).toEqual(want);
}
