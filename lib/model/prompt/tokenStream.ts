import { checkedIntegers, checkObject, checkOption, integer } from "../../options.js";

/** What an id stands for: bytes of text, or the name of a control token. Undefined if the id has no token. */
export type Token = Uint8Array | string | undefined;

/** The most bytes of an incomplete character. */
const maxHeldBack = 3;

/** A plain copy of a `TokenStream`'s state. */
export interface TokenStreamSnapshot {
  /** The bytes of an incomplete character. */
  readonly bytes: readonly number[];
}

const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });

/** Decodes ids one by one into text that never splits a character: the bytes of an incomplete one are held back. */
export class TokenStream {
  readonly #tokenOf: (id: number) => Token;
  #bytes: Uint8Array = new Uint8Array(); // held back

  /** @internal Use `OmniTokenizer.stream`. */
  constructor(tokenOf: (id: number) => Token) {
    this.#tokenOf = tokenOf;
  }

  /** Adds an id and returns the text that became final. @throws {CaracalError} `INVALID_ARGUMENT` for what is none */
  push(id: number): string {
    checkOption("TokenStream.push", "id", id, integer);
    const token = this.#tokenOf(id);
    if (token === undefined) return "";
    if (typeof token === "string") return this.end() + token;
    const bytes = this.#bytes.length === 0 ? token : Buffer.concat([this.#bytes, token]);
    const complete = completeLength(bytes);
    this.#bytes = bytes.subarray(complete);
    return utf8.decode(bytes.subarray(0, complete));
  }

  /** Ends the text and returns what was held back; an incomplete character becomes U+FFFD. */
  end(): string {
    const text = utf8.decode(this.#bytes);
    this.#bytes = new Uint8Array();
    return text;
  }

  /** Copies the state. `restore` rolls a reply back to it when a live session retracts ids. */
  snapshot(): TokenStreamSnapshot {
    return { bytes: [...this.#bytes] };
  }

  /** Returns to the state of a snapshot. @throws {CaracalError} `INVALID_ARGUMENT` for what is none */
  restore(snapshot: TokenStreamSnapshot): void {
    checkObject("TokenStream.restore", "the snapshot", snapshot);
    this.#bytes = Uint8Array.from(checkedIntegers("TokenStream.restore", "bytes", snapshot.bytes, maxHeldBack));
  }
}

/** The number of bytes before the last character, if more bytes could complete it; otherwise the number of all. */
function completeLength(bytes: Uint8Array): number {
  for (let i = bytes.length - 1; i >= Math.max(0, bytes.length - 3); i--) {
    const byte = bytes[i]!;
    if (byte >= 0x80 && byte < 0xc0) continue; // not the first byte of a character
    const length = byte < 0xc0 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : byte < 0xf8 ? 4 : 1;
    return i + length > bytes.length ? i : bytes.length;
  }
  return bytes.length;
}
