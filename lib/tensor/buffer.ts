import { runInNewContext } from "node:vm";
import { CaracalError, shown } from "../errors.js";

type Construct = (bytes: number, newTarget: typeof ArrayBuffer) => ArrayBuffer;
let construct: Construct | undefined;

/**
 * Allocates the memory that a thread of a device fills. Only the caller knows the buffer: the global `ArrayBuffer` may be
 * a polyfill or an instrumented one, which could give a shorter buffer, or detach it while it is filled. So the
 * constructor is that of a fresh context. The one of Node-API would end the process when there is no memory. The memory
 * is zeroed, but by the system and when it is first touched, so this takes no time.
 * @throws {CaracalError} `OUT_OF_MEMORY`
 */
export function newArrayBuffer(bytes: number): ArrayBuffer {
  construct ??= runInNewContext(
    "(bytes, newTarget) => Reflect.construct(ArrayBuffer, [bytes], newTarget)",
  ) as Construct;
  try {
    return construct(bytes, prototypeOwner); // has the prototype of this context, for `instanceof`
  } catch (cause) {
    const message = `no ArrayBuffer of ${bytes} bytes can be allocated (${shown(Object(cause).message)}): read fewer rows at a time`;
    throw new CaracalError("OUT_OF_MEMORY", message, { bytes }, { cause });
  }
}

const prototypeOwner = ArrayBuffer;
