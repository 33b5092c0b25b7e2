import { asWriteError } from "../synth/writer.js";

/**
 * Runs `work` with a signal that is aborted by Ctrl-C, or when the reader of our output, such as `head`, closes it, so
 * that `work` can clean up. The process then ends with 130 or 141, as shells expect. A second Ctrl-C ends the process at
 * once. An output that cannot be written, such as to a full disk, aborts `work`, too.
 * @throws {CaracalError} `IO_ERROR` when the output cannot be written; the errors of `work`
 */
export async function interruptible<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const interrupt = new AbortController();
  const stop = (status: number, reason: string) => {
    process.exitCode = status;
    interrupt.abort(new Error(reason));
  };
  const onInterrupt = () => stop(130, "interrupted");
  let failure: unknown;
  const onOutputError = (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") return stop(141, "the output was closed");
    failure ??= asWriteError("standard output", error);
    interrupt.abort(failure);
  };
  process.once("SIGINT", onInterrupt);
  process.stdout.on("error", onOutputError);
  try {
    const result = await work(interrupt.signal);
    if (failure !== undefined) throw failure;
    return result;
  } catch (error) {
    throw failure ?? error;
  } finally {
    process.off("SIGINT", onInterrupt);
    process.stdout.off("error", onOutputError);
  }
}
