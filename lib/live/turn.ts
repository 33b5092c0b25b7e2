import type { Rows } from "../model/types.js";
import { disposeAll } from "../tensor/tensor.js";
import type { SeenUnit } from "./frames.js";
import type { PreparedReply } from "./preparedReply.js";
import { type TurnEncoders, TurnInput } from "./turnInput.js";

/** A turn of the user, and what was made of it. */
export class Turn implements Disposable {
  readonly input: TurnInput;
  /** The sample that it begins with. */
  readonly first: number;
  /** When it began, in seconds of the session. */
  readonly start: number;
  /** What was seen before it. */
  readonly seen: readonly SeenUnit[];
  /** Whether its beginning is a part of the conversation. */
  opened = false;
  /** The sample after the last one that the encoder was given, and the packets that it was given. */
  taken: number;
  packets = 0;
  /** The sample before which the user has fallen silent, if so: what comes later is not part of the turn yet. */
  pausedAt: number | undefined;
  /** Typed text, after what was said. */
  readonly texts: string[] = [];
  /** The rows so far, for a conversation that must be written again. */
  readonly rows: Rows[] = [];
  /** The reply that is being prepared, and the samples after the last packet that it answers. */
  prepared: PreparedReply | undefined;
  rest: Float32Array = new Float32Array(0);

  constructor(encoders: TurnEncoders, first: number, start: number, seen: readonly SeenUnit[]) {
    this.input = TurnInput.begin(encoders);
    this.first = first;
    this.taken = first;
    this.start = start;
    this.seen = seen;
  }

  dispose(): void {
    this.input.dispose();
    disposeAll(this.rows.splice(0));
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
