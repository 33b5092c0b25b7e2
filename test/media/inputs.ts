import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { it } from "vitest";

/** The path of a real input beside the project. Tests that need it are skipped when it is absent. */
export function realInput(name: string): string {
  return join(import.meta.dirname, "../../../shared/inputs", name);
}

/** `it` for a test on a real input. When the file is absent, the test is skipped and its title says why. */
export function itWith(name: string, title: string, test: (path: string) => Promise<void>): void {
  const path = realInput(name);
  if (existsSync(path)) it(`${title} (${name})`, () => test(path));
  else it.skip(`${title} (needs ../shared/inputs/${name})`);
}

/** Whether ffmpeg is installed. Tests that use it to make their input are skipped without it. */
export const hasFfmpeg = (() => {
  try {
    execFileSync("ffmpeg", ["-version"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
})();

/** A sine wave of `frequency` Hz. */
export function sine(frequency: number, sampleRate: number, seconds: number, amplitude = 0.5): Float32Array {
  return Float32Array.from(
    { length: Math.round(sampleRate * seconds) },
    (_, i) => amplitude * Math.sin((2 * Math.PI * frequency * i) / sampleRate),
  );
}

/** Root mean square of the samples, without `margin` samples at both ends. */
export function rms(samples: Float32Array, margin = 1000): number {
  const inner = samples.subarray(margin, samples.length - margin);
  return Math.sqrt(inner.reduce((sum, sample) => sum + sample * sample, 0) / inner.length);
}
