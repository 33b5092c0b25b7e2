import { reservedSpeechIds } from "../../checkpoint/layout.js";
import { CaracalError } from "../../errors.js";
import { mediaError } from "../../media/input.js";
import type { Video } from "../../media/video.js";
import { type AudioFraming, audioTokenCount, defaultAudioFraming } from "../audio/framing.js";
import { codecBooks, codecPadId, semanticEndId } from "../speech/state.js";
import { timestampText } from "../vision/frames.js";
import { planVision, type VisionItem, type VisionSource, type VisionUnit } from "../vision/plan.js";
import type { VisionLimits } from "../vision/resize.js";
import { interleaveAverage, interleaveSequential } from "./interleave.js";
import type { LoadedMessage, LoadedPart } from "./messages.js";
import { type OmniTokenizer, textPadId } from "./tokenizer.js";

/** Upper bounds on a request. */
export interface PromptLimits {
  /** Tokens of the whole prompt. */
  readonly sequenceTokens: number;
  /** Visual tokens: all images and videos together are squeezed to fit. */
  readonly visionTokens: number;
  /** Length of each audio part in seconds. */
  readonly audioSeconds: number;
}

/** The limits of the published demo. */
export const defaultPromptLimits: PromptLimits = { sequenceTokens: 34816, visionTokens: 28672, audioSeconds: 120 };

export interface PromptOptions {
  /** Whether the reply is spoken: the prompt then ends with `VOICE ASSISTANT:` instead of `ASSISTANT:`. */
  readonly speech: boolean;
  readonly vision: VisionLimits;
  readonly audio?: AudioFraming;
  readonly limits?: Partial<PromptLimits>;
  /** `checkpoint` uses the checkpoint's own chat template, for text-only requests. Default `omni`. */
  readonly template?: "omni" | "checkpoint";
}

/** An audio part of the prompt and the number of tokens it becomes. */
export interface PromptAudio {
  readonly samples: Float32Array;
  readonly tokens: number;
}

/**
 * A prompt of T positions. Its embeddings are those of `textIds` and `codecIds`, except that the audio encoder's output
 * for `audios` fills `audioRows` in order, and the vision encoder's output for `vision` fills `visionRows`.
 */
export interface Prompt {
  /** `[T]`; `<|audio_pad|>` and `<|image_pad|>` at the rows below. */
  readonly textIds: Int32Array;
  /** `[T, 4]`, row-major; 3 where there is no code. */
  readonly codecIds: Int32Array;
  readonly audioRows: Int32Array;
  readonly visionRows: Int32Array;
  readonly audios: readonly PromptAudio[];
  readonly vision: readonly VisionUnit[];
  /** The prompt in readable form, with runs of placeholders written as `<|audio_pad|>*38`. */
  readonly text: string;
}

/** Text, or a run of placeholders whose rows an encoder fills. */
type Piece = string | { readonly pad: "audio" | "vision"; readonly count: number };

const padStrings = { audio: "<|audio_pad|>", vision: "<|image_pad|>" } as const;

/**
 * Builds the prompt of LongCat-Flash-Omni ("text instruction" format, without round numbers): `USER:` parts `\n`, and
 * so on, ending with `VOICE ASSISTANT:` or `ASSISTANT:`. Every piece is tokenised separately, as published.
 *
 * @throws {CaracalError} `INVALID_ARGUMENT` for parts that the role does not allow, or that exceed a limit;
 *   `MEDIA_INVALID` for audio shorter than one window
 */
export function buildPrompt(
  messages: readonly LoadedMessage[],
  tokenizer: OmniTokenizer,
  options: PromptOptions,
): Prompt {
  if (messages.length === 0) throw invalid("there are no messages");
  return new PromptBuilder(tokenizer, options).build(messages);
}

class PromptBuilder {
  readonly #tokenizer: OmniTokenizer;
  readonly #options: PromptOptions;
  readonly #framing: AudioFraming;
  readonly #limits: PromptLimits;
  readonly #padIds: { readonly audio: number; readonly vision: number };
  readonly #textIds: number[] = [];
  readonly #speechRows = new Map<number, readonly number[]>(); // codec ids of the rows with speech
  readonly #rows = { audio: [] as number[], vision: [] as number[] };
  readonly #audios: PromptAudio[] = [];
  #visionItems: VisionItem[] = []; // items not yet placed
  #text = "";

  constructor(tokenizer: OmniTokenizer, options: PromptOptions) {
    this.#tokenizer = tokenizer;
    this.#options = options;
    this.#framing = options.audio ?? defaultAudioFraming;
    this.#limits = withDefaults(options.limits);
    this.#padIds = {
      audio: tokenizer.specialId(padStrings.audio),
      vision: tokenizer.specialId(padStrings.vision),
    };
  }

  build(messages: readonly LoadedMessage[]): Prompt {
    const sources = messages.flatMap((message) => message.content.flatMap(visionSource));
    const items = planVision(sources, this.#options.vision, this.#limits.visionTokens);
    this.#visionItems = [...items];
    if (this.#options.template === "checkpoint") this.#addPieces([this.#renderChat(messages)]);
    else this.#addConversation(messages);
    this.#checkLength();

    const codecIds = new Int32Array(this.#textIds.length * codecBooks).fill(codecPadId);
    for (const [row, ids] of this.#speechRows) codecIds.set(ids, row * codecBooks);
    return {
      textIds: Int32Array.from(this.#textIds),
      codecIds,
      audioRows: Int32Array.from(this.#rows.audio),
      visionRows: Int32Array.from(this.#rows.vision),
      audios: this.#audios,
      vision: items.flatMap((item) => item.units),
      text: this.#text,
    };
  }

  #renderChat(messages: readonly LoadedMessage[]): string {
    const chat = messages.map(({ role, content }) => ({
      role,
      content: content.map((part) => (part.type === "text" ? part.text : misplaced(part, "a chat template"))).join(""),
    }));
    return this.#tokenizer.renderChat(chat);
  }

  #addConversation(messages: readonly LoadedMessage[]): void {
    for (const message of messages) {
      if (message.role === "user") this.#addUser(message.content);
      else if (message.content.some((part) => part.type === "speech")) this.#addSpokenReply(message);
      else this.#addText(message);
    }
    this.#addPieces([this.#options.speech ? "VOICE ASSISTANT:" : "ASSISTANT:"]);
  }

  #addUser(content: readonly LoadedPart[]): void {
    this.#addPieces(["USER:"]);
    for (const part of content) {
      switch (part.type) {
        case "text":
          this.#addPieces([part.text]);
          break;
        case "audio":
          this.#addPieces(this.#audioPieces(part.samples, part.name));
          break;
        case "image":
          this.#addPieces([{ pad: "vision", count: this.#visionItems.shift()!.units[0]!.tokens }, "\n"]);
          break;
        case "video":
          this.#addPieces(this.#videoPieces(part.video, part.samples));
          break;
        default:
          misplaced(part, "a user message");
      }
    }
    this.#addPieces(["\n"]);
  }

  /** Adds a system prompt, or an earlier reply as text. The end of text follows each part. */
  #addText({ role, content }: LoadedMessage): void {
    this.#addPieces([`${role.toUpperCase()}:`]);
    for (const part of content) {
      if (part.type !== "text") misplaced(part, `a message of role ${role}`);
      else this.#addPieces([part.text]);
      this.#addPieces([this.#tokenizer.endText]);
    }
    this.#addPieces(["\n"]);
  }

  /** Adds an earlier spoken reply: text and codec ids in the same rows, the acoustic books one row late. */
  #addSpokenReply({ role, content }: LoadedMessage): void {
    if (role !== "assistant") misplaced({ type: "speech" }, `a message of role ${role}`);
    this.#addPieces(["VOICE ASSISTANT:"]);
    const segments = content.flatMap((part) =>
      part.type === "speech" ? part.segments : misplaced(part, "a spoken reply"),
    );
    segments.forEach(({ text, codes }, i) => {
      const marked = text + (i === segments.length - 1 ? this.#tokenizer.endText : "</pause>");
      const rows = speechRows(codes);
      const ids = this.#encodeText(marked);
      if (ids.length > rows.length) {
        throw invalid(
          `the speech of ${JSON.stringify(text)} has ${rows.length - 1} frames for ${ids.length} text tokens; ` +
            "it must be at least as long as its text",
        );
      }
      for (const [row, codecIds] of rows.entries()) {
        this.#speechRows.set(this.#textIds.length, codecIds);
        this.#textIds.push(ids[row] ?? textPadId);
      }
      this.#text += marked;
    });
    this.#addPieces(["\n"]);
  }

  #audioPieces(samples: Float32Array, name: string): Piece[] {
    const seconds = samples.length / this.#framing.sampleRate;
    if (seconds > this.#limits.audioSeconds) {
      throw invalid(
        `${name} lasts ${seconds.toFixed(1)} s, at most ${this.#limits.audioSeconds} s are possible; ` +
          "shorten it, split it into several parts, or raise limits.audioSeconds",
      );
    }
    return ["<|audio|>", { pad: "audio", count: this.#addAudio(samples, name) }, "<|/audio|>"];
  }

  #addAudio(samples: Float32Array, name: string): number {
    const tokens = audioTokenCount(samples.length, this.#framing);
    if (tokens === 0) {
      throw mediaError(
        name,
        `${samples.length} samples are too few: at least ${this.#framing.windowSamples} are needed`,
      );
    }
    this.#audios.push({ samples, tokens });
    return tokens;
  }

  #videoPieces(video: Video, samples: Float32Array | null): Piece[] {
    const { units, strategy } = this.#visionItems.shift()!;
    const unitPieces = (unit: VisionUnit): Piece[] => [
      timestampText(unit.seconds),
      { pad: "vision", count: unit.tokens },
    ];
    if (samples === null) return units.flatMap(unitPieces);
    const audioTokens = this.#addAudio(samples, `${video.name}, audio`);
    const interleave = strategy === "average" ? interleaveAverage : interleaveSequential;
    return interleave({ units: units.length, audioTokens }).flatMap((piece): Piece[] => {
      if (piece.type === "unit") return unitPieces(units[piece.unit]!);
      if (piece.type === "audio") return [{ pad: "audio", count: piece.tokens }];
      return [piece.type === "audioStart" ? "<|audio|>" : "<|/audio|>"];
    });
  }

  /**
   * Tokenises one piece of the prompt. A run of placeholders is encoded as a single one and then repeated: special
   * strings are split off first, so their number does not change the ids around them.
   */
  #addPieces(pieces: readonly Piece[]): void {
    const runs = pieces.filter((piece) => typeof piece !== "string");
    if (runs.length === 0) {
      for (const id of this.#encodeText(pieces.join(""))) this.#textIds.push(id);
      this.#text += pieces.join("");
      return;
    }
    const text = pieces.map((piece) => (typeof piece === "string" ? piece : padStrings[piece.pad]));
    let run = 0;
    for (const id of this.#tokenizer.encode(text.join(""))) {
      const { pad, count } = runs[run] ?? { pad: "audio", count: 0 };
      if (id !== this.#padIds[pad]) {
        this.#textIds.push(id);
        continue;
      }
      run++;
      for (let i = 0; i < count; i++) {
        this.#rows[pad].push(this.#textIds.length);
        this.#textIds.push(id);
      }
    }
    this.#text += pieces
      .map((piece) => (typeof piece === "string" ? piece : `${padStrings[piece.pad]}*${piece.count}`))
      .join("");
  }

  #encodeText(text: string): number[] {
    const ids = this.#tokenizer.encode(text);
    for (const pad of ["audio", "vision"] as const) {
      if (ids.includes(this.#padIds[pad])) {
        throw invalid(`text must not contain ${padStrings[pad]}: it marks the position of media; remove or rewrite it`);
      }
    }
    return ids;
  }

  #checkLength(): void {
    const { sequenceTokens } = this.#limits;
    if (this.#textIds.length <= sequenceTokens) return;
    throw invalid(
      `the request has ${this.#textIds.length} tokens (${this.#rows.vision.length} visual, ` +
        `${this.#rows.audio.length} audio), at most ${sequenceTokens} are possible; shorten the conversation or its media`,
    );
  }
}

/** The limits with their defaults; an undefined limit takes its default too. */
function withDefaults(limits: Partial<PromptLimits> = {}): PromptLimits {
  const given = Object.entries(limits).filter(([, value]) => value !== undefined);
  return { ...defaultPromptLimits, ...Object.fromEntries(given) };
}

function visionSource(part: LoadedPart): VisionSource[] {
  if (part.type === "image") return [part];
  if (part.type === "video") return [{ type: "video", video: part.video, interleaved: part.samples !== null }];
  return [];
}

/** Codec ids of a segment, [frames + 1][4]: semantic ids then the end id; acoustic ids one row late. */
function speechRows(codes: ArrayLike<number>): number[][] {
  const frames = codes.length / codecBooks;
  if (!Number.isInteger(frames) || Array.from(codes).some((code) => !Number.isInteger(code) || code < 0)) {
    throw invalid(`speech codes must be whole frames of ${codecBooks} codes from 0, got ${codes.length} values`);
  }
  const id = (frame: number, book: number, outside: number): number =>
    frame >= 0 && frame < frames ? codes[frame * codecBooks + book]! + reservedSpeechIds : outside;
  return Array.from({ length: frames + 1 }, (_, row) =>
    Array.from({ length: codecBooks }, (_, book) =>
      book === 0 ? id(row, 0, semanticEndId) : id(row - 1, book, codecPadId),
    ),
  );
}

function misplaced(part: { readonly type: string }, where: string): never {
  throw invalid(`a part of type ${part.type} is not allowed in ${where}`);
}

function invalid(message: string): CaracalError {
  return new CaracalError("INVALID_ARGUMENT", `prompt: ${message}`);
}
