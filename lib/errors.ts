import { types } from "node:util";

interface ErrorDescription {
  readonly when: string;
  readonly fix: string;
}

/**
 * Every stable error code: when it occurs and how to fix it. Codes are part of the public API: they are added, never
 * renamed. `npm run docs` writes docs/errors.md from this table.
 */
export const errorCodes = {
  INVALID_ARGUMENT: {
    when: "An option or value is not one that the function accepts, or the name of an option is unknown.",
    fix: "Correct the value. The message states what is accepted and, for a misspelt option, the nearest name.",
  },
  SHAPE_MISMATCH: {
    when: "The shapes of an operation's tensors do not fit together, or a number of values does not fit a shape.",
    fix: "Compare the two shapes in the message with the shapes in the documentation of the operation.",
  },
  DTYPE_MISMATCH: {
    when: "A tensor or array has a dtype that the operation does not take.",
    fix: "Convert it with `ops.cast`, or create it with the dtype that the message asks for.",
  },
  DEVICE_MISMATCH: {
    when: "The tensors of one operation belong to different `Device` objects.",
    fix: "Create all of them with the same device. To move a tensor, read it and create it again on the other device.",
  },
  INDEX_OUT_OF_RANGE: {
    when:
      "An id, slot, offset or expert index is outside its table. Operations find this when they run, so the error " +
      "usually comes from reading a result.",
    fix:
      "Correct the index that the message names. Everything computed from a failed result fails with the same error; a " +
      "tensor that was written in place can be used again after its `clearError()`.",
  },
  DISPOSED: {
    when: "A tensor, graph, sequence, model or device was used after it was disposed, or was disposed with work still queued.",
    fix: "Dispose it later: keep it outside of the `using` block or the `device.scope` that ended.",
  },
  OUT_OF_MEMORY: {
    when: "Memory or threads of the host, memory of the GPU, the `memoryLimit` of a device, or the blocks of the KV cache do not suffice.",
    fix: "Dispose tensors and conversations earlier, raise the limit, or use smaller batches, shorter prompts or bf16.",
  },
  ABORTED: {
    when: "The `AbortSignal` of a call was aborted. The error's `cause` is the reason given to the signal.",
    fix: "Nothing is broken: the call may be repeated.",
  },
  CHECKPOINT_INVALID: {
    when: "A file of a model directory is missing, truncated, damaged, or inconsistent with the others.",
    fix: "Download or convert the files named in the message again. `caracal inspect DIR` lists all problems.",
  },
  MEDIA_INVALID: {
    when: "An audio, image or video file is damaged, empty or too large, or cannot be used for the request.",
    fix: "Try the file in a player or with `ffprobe`, and convert it if necessary.",
  },
  IO_ERROR: {
    when:
      "The operating system refused to read or write a file, for the reason in the message; or a mapped file, such as a " +
      "loaded checkpoint's, was cut short or written to while it was in use.",
    fix: "Check that the path exists, its permissions, and the free space of the disk. Load a changed checkpoint again.",
  },
  MISSING_TOOL: {
    when:
      "An external program such as ffmpeg, or a package (sharp for images, @huggingface/jinja for chat templates), is " +
      "needed but not installed.",
    fix: "Install it with the command in the message. `caracal doctor` lists the programs that are found.",
  },
  NATIVE_LOAD_FAILED: {
    when: "The native addon does not exist, or does not load on this system.",
    fix:
      "Follow the message, which lists what was tried (`details.attempts`): install the package for this platform in the " +
      "version of caracal. In a checkout, run `npm run build`.",
  },
  NO_DRIVER: {
    when: "No CUDA driver can be opened, or it cannot be initialised.",
    fix: "Install the NVIDIA driver and check `nvidia-smi`, or use a CPU device.",
  },
  DRIVER_TOO_OLD: {
    when: "The CUDA driver is older than CUDA 13.0.",
    fix: "Update the NVIDIA driver to R580 or newer, or use a CPU device.",
  },
  NO_DEVICE: {
    when: "The CUDA driver works, but it sees no GPU.",
    fix: "Check `nvidia-smi`, `CUDA_VISIBLE_DEVICES` and, in a container, its `--gpus` option.",
  },
  ARCH_UNSUPPORTED: {
    when: "The GPU is too old: its compute capability is below 8.0 (Ampere).",
    fix: "Choose another GPU with the `ordinal` option, or use a CPU device.",
  },
  DEVICE_FAULT: {
    when:
      "A CUDA call or kernel failed. After a failed kernel the GPU context is lost: every later operation of the " +
      "device reports the same error.",
    fix: "Restart the process. If it happens again, see docs/debugging.md and report it.",
  },
  UNSUPPORTED: {
    when: "The request is valid, but this build, this backend or this processor does not support it.",
    fix: "Use what the message suggests: another backend, another build, or another option.",
  },
} satisfies Record<string, ErrorDescription>;

/** A stable code of an error: a key of `errorCodes`. */
export type ErrorCode = keyof typeof errorCodes;

/**
 * The only error class that this library throws; what the caller's own code throws is passed on as it is. `code` is stable and meant for programs. `message` says what was
 * expected, what was found and how to fix it. `details` holds the offending values, where there are any.
 */
export class CaracalError extends Error {
  override readonly name = "CaracalError";
  readonly code: ErrorCode;
  /**
   * The values that the error is about. Native errors name them `operation`, `argument`, `expected` and `actual` (what
   * the argument must be and what it is), `position` and `value` (an invalid element of the argument, counted in
   * row-major order), `bytes`, `inUse`, `capacity` and `offset` (in bytes), `result` (the name of a `CUresult`), and
   * `path`.
   */
  readonly details: Readonly<Record<string, unknown>>;

  constructor(
    code: ErrorCode,
    message: string,
    details: Readonly<Record<string, unknown>> = {},
    options?: ErrorOptions,
  ) {
    super(message, options);
    this.code = code;
    this.details = details;
  }
}

/** @throws {CaracalError} `ABORTED`, with the signal's reason as its `cause`, when `signal` is aborted */
export function throwIfAborted(signal: AbortSignal | undefined, during: string): void {
  if (signal?.aborted) throw new CaracalError("ABORTED", `${during} was aborted`, { during }, { cause: signal.reason });
}

/** How many characters of a value a message shows. */
const shownCharacters = 80;

/**
 * A value that somebody passed, for use in a message: short, whatever it is. Text is quoted and cut, of bytes and lists
 * only the kind and the length are shown, of objects the class or the first keys.
 */
export function shown(value: unknown): string {
  if (typeof value === "string") return shownText(value);
  if (typeof value === "function") return "a function";
  if (typeof value === "bigint") return cut(`${value}n`);
  if (typeof value !== "object" || value === null) return cut(String(value));
  try {
    if (Array.isArray(value)) return `a list of ${value.length}`;
    const prototype = Object.getPrototypeOf(value);
    const name = prototype?.constructor?.name;
    if (types.isProxy(value)) return `a proxy of ${ofClass(name)}`;
    if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) return `${name} of ${value.byteLength} bytes`;
    if (name !== undefined && !Object.hasOwn(prototype, "constructor"))
      return `an object that inherits from ${ofClass(name)}`;
    if (typeof name === "string" && name !== "Object") return ofClass(name);
    const keys = Object.keys(value);
    if (keys.length === 0) return "an empty object";
    return `an object with ${cut(keys.slice(0, 8).join(", "))}${keys.length > 8 ? ", …" : ""}`;
  } catch {
    return "an object that cannot be read"; // a proxy
  }
}

const ofClass = (name: unknown): string =>
  typeof name === "string" && name !== "Object" ? `an object of class ${cut(name)}` : "an object";

/**
 * Replaces control characters, which could send commands to the reader's terminal, and those that change the direction
 * of writing or begin a line, with which a name could rearrange the message around it.
 */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Bidi_Control}\u2028\u2029]/gu, "\uFFFD");
}

function shownText(text: string): string {
  const quoted = printable(JSON.stringify(text.slice(0, shownCharacters)));
  return text.length > shownCharacters ? `${quoted}… (${text.length} characters)` : quoted;
}

const cut = (text: string): string =>
  printable(text.length > shownCharacters ? `${text.slice(0, shownCharacters)}…` : text);
