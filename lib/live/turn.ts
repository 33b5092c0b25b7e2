import type { SeenUnit } from "./frames.js";
import type { PreparedReply } from "./preparedReply.js";
import { type Packet, type TurnEncoders, TurnInput } from "./turnInput.js";

/** A turn of the user, and what was made of it. */
export class Turn implements Disposable {
  /** Its name in the conversation. */
  readonly item: string;
  readonly input: TurnInput;
  /** The sample that it begins with. */
  readonly first: number;
  /** When it began, in seconds of the session. */
  readonly start: number;
  /** What was seen before it. */
  readonly seen: readonly SeenUnit[];
  /** The sample after the last packet, and the number of packets. */
  taken: number;
  packets = 0;
  /** The sample before which the user has fallen silent, if so: what comes later is not part of the turn yet. */
  pausedAt: number | undefined;
  /** Typed text, after what was said. */
  readonly texts: string[] = [];
  #prepared: PreparedReply | undefined;
  /** What came after the last packet, of the turn that the prepared reply answers. */
  rest: Packet = { samples: new Float32Array(0), unit: undefined };

  constructor(encoders: TurnEncoders, item: string, first: number, start: number, seen: readonly SeenUnit[]) {
    this.item = item;
    this.input = new TurnInput(encoders);
    this.first = first;
    this.taken = first;
    this.start = start;
    this.seen = seen;
  }

  /** The reply that is being prepared. Another one takes its place, and drops it. */
  get prepared(): PreparedReply | undefined {
    return this.#prepared;
  }

  set prepared(prepared: PreparedReply | undefined) {
    this.#prepared?.drop();
    this.#prepared = prepared;
  }

  dispose(): void {
    this.prepared = undefined;
    this.input.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
