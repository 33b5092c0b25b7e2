/** Every stable error code. Codes are part of the public API: they are added, never renamed. */
export type ErrorCode =
  | "INVALID_ARGUMENT" // an option or value is not what the function takes
  | "SHAPE_MISMATCH"
  | "DTYPE_MISMATCH"
  | "DEVICE_MISMATCH"
  | "INDEX_OUT_OF_RANGE" // an id, slot or expert index points outside its table
  | "DISPOSED"
  | "OUT_OF_MEMORY"
  | "ABORTED"
  | "CHECKPOINT_INVALID" // a checkpoint file or directory is missing, truncated, hostile or inconsistent
  | "MEDIA_INVALID" // an audio, image or video file cannot be decoded
  | "IO_ERROR" // the operating system refused a read or a write
  | "MISSING_TOOL" // an external program (ffmpeg, a compiler) is not installed
  | "NATIVE_LOAD_FAILED" // the native addon could not be loaded
  | "NO_DRIVER"
  | "DRIVER_TOO_OLD"
  | "NO_DEVICE"
  | "ARCH_UNSUPPORTED"
  | "DEVICE_FAULT"
  | "UNSUPPORTED"; // valid, but this build or backend does not have it

/**
 * The one error class that this library throws. `code` is stable and meant for programs; `message` says what was
 * expected, what came, and how to mend it; `details` holds the offending values.
 */
export class CaracalError extends Error {
  override readonly name = "CaracalError";

  constructor(
    readonly code: ErrorCode,
    message: string,
    readonly details: Readonly<Record<string, unknown>> = {},
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** Throws `ABORTED` (with the signal's reason as `cause`) when `signal` is aborted. */
export function throwIfAborted(signal: AbortSignal | undefined, during: string): void {
  if (signal?.aborted) throw new CaracalError("ABORTED", `${during} was aborted`, { during }, { cause: signal.reason });
}
