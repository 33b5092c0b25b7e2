import { vi } from "vitest";
import { Turns } from "../../lib/turns.js";

/**
 * How often `run` gives the event loop its turn, when every stretch of work counts as too long. So the count says into
 * how many slices the work is cut, whatever the speed of the machine.
 */
export async function turnsDuring(run: () => Promise<unknown>): Promise<number> {
  let now = 0;
  const clock = vi.spyOn(performance, "now").mockImplementation(() => {
    now += 1000;
    return now;
  });
  const next = vi.spyOn(Turns.prototype, "next");
  try {
    await run();
    return next.mock.calls.length;
  } finally {
    next.mockRestore();
    clock.mockRestore();
  }
}
