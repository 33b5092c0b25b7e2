import { asWriteError } from "../synth/writer.js";

/** The signals that ask a process to end. Shells expect it to exit with 128 and their number. */
const endings = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 };

/**
 * Runs `work` with a signal that is aborted by Ctrl-C or another of `endings`, or when the reader of our output, such as
 * `head`, closes it (status 141), so that `work` can clean up. A second Ctrl-C or other ending ends the process at once.
 * An output that cannot be written, such as to a full disk, aborts `work`, too.
 * @throws {CaracalError} `IO_ERROR` when the output cannot be written; the errors of `work`
 */
export async function interruptible<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const interrupt = new AbortController();
  const stop = (status: number, reason: string) => {
    process.exitCode = status;
    interrupt.abort(new Error(reason));
  };
  const listeners = Object.entries(endings).map(([name, status]) => {
    const listener = () => {
      stopListening();
      stop(status, `interrupted by ${name}`);
    };
    return [name, listener] as const;
  });
  const stopListening = () => {
    for (const [name, listener] of listeners) process.off(name, listener);
  };
  let failure: unknown;
  const onOutputError = (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") return stop(141, "the output was closed");
    failure ??= asWriteError("standard output", error);
    interrupt.abort(failure);
  };
  for (const [name, listener] of listeners) process.on(name, listener);
  process.stdout.on("error", onOutputError);
  try {
    const result = await work(interrupt.signal);
    if (failure !== undefined) throw failure;
    return result;
  } catch (error) {
    throw failure ?? error;
  } finally {
    stopListening();
    process.stdout.off("error", onOutputError);
  }
}
