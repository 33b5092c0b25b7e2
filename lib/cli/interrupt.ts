/**
 * Runs `work` with a signal that is aborted by Ctrl-C, or when the reader of our output, such as `head`, closes it, so
 * that `work` can clean up. The process then ends with 130 or 141, as shells expect. A second Ctrl-C ends the process at
 * once.
 */
export async function interruptible<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const interrupt = new AbortController();
  const stop = (status: number, reason: string) => {
    process.exitCode = status;
    interrupt.abort(new Error(reason));
  };
  const onInterrupt = () => stop(130, "interrupted");
  const onClosed = () => stop(141, "the output was closed");
  process.once("SIGINT", onInterrupt);
  process.stdout.on("error", onClosed);
  try {
    return await work(interrupt.signal);
  } finally {
    process.off("SIGINT", onInterrupt);
    process.stdout.off("error", onClosed);
  }
}
