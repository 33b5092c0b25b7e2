/** The reasons of the promises that are rejected while `run` runs, and shortly after, without a handler. */
export async function unhandledDuring(run: () => Promise<unknown>): Promise<unknown[]> {
  const reasons: unknown[] = [];
  const note = (reason: unknown) => reasons.push(reason);
  const others = process.listeners("unhandledRejection");
  process.removeAllListeners("unhandledRejection"); // vitest's own would fail the run, whatever the test expects
  process.on("unhandledRejection", note);
  try {
    await run();
    await new Promise((done) => setTimeout(done, 20));
    return reasons;
  } finally {
    process.off("unhandledRejection", note);
    for (const other of others) process.on("unhandledRejection", other);
  }
}
