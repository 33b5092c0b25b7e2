import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { it } from "vitest";

/** A file of the real inputs kept beside the project; tests that need one are skipped where it is absent. */
export function realInput(name: string): string {
  return join(import.meta.dirname, "../../../shared/inputs", name);
}

/** `it` for a test on a real input: skipped, and saying so, where the file is absent. */
export function itWith(name: string, title: string, test: (path: string) => Promise<void>): void {
  const path = realInput(name);
  if (existsSync(path)) it(`${title} (${name})`, () => test(path));
  else it.skip(`${title} (needs ../shared/inputs/${name})`);
}

/** Whether ffmpeg is installed: tests that need it to make their input are skipped without. */
export const hasFfmpeg = (() => {
  try {
    execFileSync("ffmpeg", ["-version"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
})();

/** A sine of `frequency` Hz. */
export function sine(frequency: number, sampleRate: number, seconds: number, amplitude = 0.5): Float32Array {
  return Float32Array.from(
    { length: Math.round(sampleRate * seconds) },
    (_, i) => amplitude * Math.sin((2 * Math.PI * frequency * i) / sampleRate),
  );
}

/** Root mean square of the samples away from both ends. */
export function rms(samples: Float32Array, margin = 1000): number {
  const inner = samples.subarray(margin, samples.length - margin);
  return Math.sqrt(inner.reduce((sum, sample) => sum + sample * sample, 0) / inner.length);
}
