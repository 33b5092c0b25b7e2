import { CaracalError } from "../errors.js";
import type { AudioEncoder, AudioEncoderStream } from "../model/audio/encoder.js";
import { replyHeader } from "../model/prompt/build.js";
import type { OmniEmbedding } from "../model/prompt/embedding.js";
import { type OmniTokenizer, textPadId } from "../model/prompt/tokenizer.js";
import { codecPadId, semanticEndId } from "../model/speech/state.js";
import type { Rows } from "../model/types.js";
import type { VisionEncoder } from "../model/vision/encoder.js";
import { timestampText } from "../model/vision/frames.js";
import { visionInputSize } from "../model/vision/resize.js";
import { concatRows } from "../ops/rows.js";
import { disposeAll } from "../tensor/tensor.js";
import { Turns } from "../turns.js";
import type { SeenUnit } from "./frames.js";
import { TurnLayout } from "./layout.js";

/** The modules that turn what a session hears, sees and reads into rows. */
export interface TurnEncoders {
  readonly tokenizer: OmniTokenizer;
  readonly embedding: OmniEmbedding;
  readonly audioEncoder: AudioEncoder;
  readonly vision: VisionEncoder | null;
  /** No conversation has more. */
  readonly maxTokens: number;
}

/** The error of text that no conversation can hold. */
export const tooMuchText = (tokens: number): CaracalError =>
  new CaracalError("INVALID_ARGUMENT", `live: the text has more tokens than the KV cache holds, ${tokens}`, { tokens });

/** Units that share a video's budget of visual tokens: half a minute of speech. */
const unitsOfBudget = 32;

/** The ids of rows that are not yet embedded, and the tensors that fill the rows of media. */
class PendingRows {
  readonly #encoders: TurnEncoders;
  readonly #textIds: number[] = [];
  readonly #codecIds: number[] = [];
  readonly #audio: Rows[] = [];
  readonly #vision: Rows[] = [];
  readonly #turns = new Turns("encoding a turn");

  constructor(encoders: TurnEncoders) {
    this.#encoders = encoders;
  }

  /**
   * A piece of text of its own, as published: pieces are encoded separately.
   * @throws {CaracalError} `INVALID_ARGUMENT` for more than any conversation has
   */
  async text(text: string): Promise<void> {
    const { maxTokens } = this.#encoders;
    for (const tokens of this.#encoders.tokenizer.leastIds(text)) {
      if (this.#textIds.length + tokens > maxTokens) throw tooMuchText(maxTokens);
      if (this.#turns.due) await this.#turns.next();
    }
    const ids: number[] = [];
    await this.#turns.during(this.#encoders.tokenizer.encodeSteps(text, ids));
    for (const id of ids) this.id(id);
  }

  control(name: string): void {
    this.id(this.#encoders.tokenizer.specialId(name));
  }

  /** @param semantic the id of the semantic book; without, the row has no speech */
  id(textId: number, semantic: number = codecPadId): void {
    const { books } = this.#encoders.embedding;
    this.#textIds.push(textId);
    for (let book = 0; book < books; book++) this.#codecIds.push(book === 0 ? semantic : codecPadId);
  }

  audio(rows: Rows): void {
    this.#media("<|audio_pad|>", rows, this.#audio);
  }

  vision(rows: Rows): void {
    this.#media("<|image_pad|>", rows, this.#vision);
  }

  /** The embeddings of these rows; undefined if there are none. */
  embed(): Rows | undefined {
    const { embedding, audioEncoder } = this.#encoders;
    if (this.#textIds.length === 0) return undefined;
    const codecIds = embedding.books > 0 ? this.#codecIds : undefined;
    const join = (rows: readonly Rows[]) => (rows.length > 0 ? concatRows(rows) : undefined);
    return audioEncoder.device.scope(() =>
      embedding.prompt({ textIds: this.#textIds, codecIds }, join(this.#audio), join(this.#vision)),
    );
  }

  /** Frees the rows of media. */
  dispose(): void {
    disposeAll([this.#audio.splice(0), this.#vision.splice(0)]);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #media(pad: string, rows: Rows, all: Rows[]): void {
    for (let i = 0; i < rows.shape[0]; i++) this.control(pad);
    all.push(rows);
  }
}

/** A second of a turn, or what there is of its last one. */
export interface Packet {
  readonly samples: Float32Array;
  /** What was seen meanwhile. */
  readonly unit: SeenUnit | undefined;
}

interface EncodedUnit {
  readonly tokens: Rows;
  /** Its time stamp. */
  readonly seconds: number;
}

/** The rows that a reply begins with. */
export async function replyStart(encoders: TurnEncoders, spoken: boolean): Promise<Rows> {
  using rows = new PendingRows(encoders);
  await rows.text(replyHeader(spoken));
  return rows.embed()!;
}

/**
 * The rows that are missing after the last step of a reply.
 * @param textEnded whether one of its steps is the id that ends the text
 */
export async function replyEnd(encoders: TurnEncoders, spoken: boolean, textEnded: boolean): Promise<Rows> {
  using rows = new PendingRows(encoders);
  const { endId } = encoders.tokenizer;
  if (spoken) rows.id(textEnded ? textPadId : endId, semanticEndId);
  else if (!textEnded) rows.id(endId);
  await rows.text("\n");
  return rows.embed()!;
}

/**
 * Encodes one turn of a user while it arrives. The rows that it returns, one after another, are those of the prompt that
 * has the whole turn: their bits do not depend on when it arrived.
 */
export class TurnInput {
  readonly #encoders: TurnEncoders;
  readonly #stream: AudioEncoderStream;
  readonly #layout = new TurnLayout();
  /** Those of whole packets. */
  readonly #units: EncodedUnit[] = [];
  #packets = 0;

  constructor(encoders: TurnEncoders) {
    this.#encoders = encoders;
    this.#stream = encoders.audioEncoder.stream();
  }

  /** The rows before what is heard: who speaks, and what was seen since the turn before. */
  async open(seen: readonly SeenUnit[]): Promise<Rows> {
    using rows = new PendingRows(this.#encoders);
    await rows.text("USER:");
    for (const unit of seen) {
      await rows.text(timestampText(unit.seconds));
      rows.vision((await this.#encodeUnit(unit)).tokens);
    }
    return rows.embed()!;
  }

  /** The rows of the audio tokens that the next packet makes final. */
  async hear({ samples, unit }: Packet): Promise<Rows | undefined> {
    if (unit) {
      this.#units.push(await this.#encodeUnit(unit));
      this.#layout.addUnit(this.#packets);
    }
    this.#packets++;
    return await this.#place(this.#stream.push(samples), this.#layout, this.#units);
  }

  /** The rows of the rest of the turn, if it ends with a part of a packet. The turn stays as it was, and may go on. */
  async close({ samples, unit }: Packet, texts: readonly string[]): Promise<Rows> {
    const layout = this.#layout.fork();
    const last = unit && (await this.#encodeUnit(unit));
    if (last) layout.addUnit(this.#packets);
    try {
      const tokens = this.#packets > 0 || samples.length > 0 ? this.#lastTokens(samples) : undefined;
      return (await this.#place(tokens, layout, last ? [...this.#units, last] : this.#units, [...texts, "\n"]))!;
    } finally {
      last?.tokens.dispose();
    }
  }

  dispose(): void {
    this.#stream.dispose();
    disposeAll(this.#units.splice(0));
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** The tokens that are not final yet, if the sound ends after these samples. */
  #lastTokens(samples: Float32Array): Rows | undefined {
    using stream = this.#stream.fork();
    const parts = [stream.push(samples), stream.flush()].flatMap((rows) => rows ?? []);
    try {
      return parts.length > 0 ? this.#encoders.audioEncoder.device.scope(() => concatRows(parts)) : undefined;
    } finally {
      disposeAll(parts);
    }
  }

  /**
   * Embeds audio tokens, which it takes, where the layout puts them among the units.
   * @param after what follows the turn's last token; absent if it goes on
   */
  async #place(
    tokens: Rows | undefined,
    layout: TurnLayout,
    units: readonly EncodedUnit[],
    after?: readonly string[],
  ): Promise<Rows | undefined> {
    using rows = new PendingRows(this.#encoders);
    let used = 0;
    try {
      for (const piece of [...(tokens ? layout.addAudio(tokens.shape[0]) : []), ...(after ? layout.end() : [])])
        if (piece.type === "audio") {
          rows.audio(tokens!.slice(used, used + piece.tokens));
          used += piece.tokens;
        } else if (piece.type === "unit") {
          const unit = units[piece.unit]!;
          await rows.text(timestampText(unit.seconds));
          rows.vision(unit.tokens.slice(0, unit.tokens.shape[0]));
        } else rows.control(piece.type === "audioStart" ? "<|audio|>" : "<|/audio|>");
      for (const text of after ?? []) await rows.text(text);
      return rows.embed();
    } finally {
      tokens?.dispose();
    }
  }

  async #encodeUnit({ frames, seconds }: SeenUnit): Promise<EncodedUnit> {
    const vision = this.#encoders.vision!;
    const size = visionInputSize(frames[0], vision.limits, { units: unitsOfBudget });
    const [encoded] = await vision.encodeUnits([{ frames, size }]);
    return { tokens: encoded!.tokens, seconds };
  }
}
