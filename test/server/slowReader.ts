import koffi from "koffi";

const libc = koffi.load("libc.so.6");
const socket = libc.func("int socket(int, int, int)");
const setsockopt = libc.func("int setsockopt(int, int, int, const int *, uint)");
const connect = libc.func("int connect(int, const void *, uint)");
const write = libc.func("long write(int, const void *, size_t)");
const close = libc.func("int close(int)");

const inet = 2;
const stream = 1;
const socketLevel = 1;
const receiveBuffer = 8;

/** A request with a body. */
export const postOf = (path: string, body: string) =>
  `POST ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;

/**
 * Sends a request to a port of this machine, and never reads the response. Its socket takes a few kilobytes only, which
 * Node.js cannot set; others take megabytes before the sender notices.
 */
export function slowReader(port: number, sent: string | Uint8Array): Disposable {
  const descriptor = socket(inet, stream, 0);
  setsockopt(descriptor, socketLevel, receiveBuffer, [2048], 4);
  const address = Buffer.alloc(16);
  address.writeUInt16LE(inet, 0);
  address.writeUInt16BE(port, 2);
  address.set([127, 0, 0, 1], 4);
  if (connect(descriptor, address, address.length) !== 0) throw new Error(`cannot connect to port ${port}`);
  const request = Buffer.from(sent);
  if (write(descriptor, request, request.length) !== request.length) throw new Error("cannot send the request");
  return { [Symbol.dispose]: () => void close(descriptor) };
}
