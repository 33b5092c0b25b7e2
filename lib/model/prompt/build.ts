import { reservedSpeechIds } from "../../checkpoint/layout.js";
import { CaracalError, shown } from "../../errors.js";
import { mediaError } from "../../media/input.js";
import type { Video } from "../../media/video.js";
import { Turns } from "../../turns.js";
import { type AudioFraming, audioTokenCount, defaultAudioFraming } from "../audio/framing.js";
import { codecBooks, codecPadId, semanticEndId } from "../speech/state.js";
import { timestampText } from "../vision/frames.js";
import { planVision, type VisionItem, type VisionUnit } from "../vision/plan.js";
import type { VisionLimits } from "../vision/resize.js";
import { interleaveAverage, interleaveSequential } from "./interleave.js";
import { type PromptLimits, visionSource, withDefaults } from "./limits.js";
import type { LoadedMessage, LoadedPart } from "./messages.js";
import { type ChatMessage, type OmniTokenizer, type TextPiece, textPadId } from "./tokenizer.js";

export interface PromptOptions {
  /** Whether the reply is spoken: the prompt then ends with `VOICE ASSISTANT:` instead of `ASSISTANT:`. null: none follows. */
  readonly speech: boolean | null;
  /** Absent only where no message has an image or video. */
  readonly vision?: VisionLimits | undefined;
  readonly audio?: AudioFraming;
  readonly limits?: Partial<PromptLimits>;
  /** `checkpoint` uses the checkpoint's own chat template, for text-only requests. Default `omni`. */
  readonly template?: "omni" | "checkpoint";
  /** Positions of the language model, of which the reply needs at least one. */
  readonly positions?: number;
  /** The number of speech codes in each book, for earlier spoken replies. Default: as many as ids can name. */
  readonly speechCodes?: number;
  readonly signal?: AbortSignal;
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

/** What a reply begins with. */
export const replyHeader = (speech: boolean): string => (speech ? "VOICE ASSISTANT:" : "ASSISTANT:");

/** As many as `renderChat` takes by default. */
const maxChatCharacters = 2 ** 27;

/** Text, a control token, or a run of placeholders whose rows an encoder fills. */
type Piece = TextPiece | { readonly pad: "audio" | "vision"; readonly count: number };

const padStrings = { audio: "<|audio_pad|>", vision: "<|image_pad|>" } as const;

/**
 * Builds the prompt of LongCat-Flash-Omni ("text instruction" format, without round numbers): `USER:` parts `\n`, and
 * so on, ending with `VOICE ASSISTANT:` or `ASSISTANT:`. Every piece is tokenised separately, as published. Only the
 * prompt itself writes control tokens: text that spells their names stays text.
 *
 * Long text is encoded in slices, between which the event loop has its turn, and only as far as a limit allows.
 *
 * @throws {CaracalError} `INVALID_ARGUMENT` for parts that the role does not allow, or that exceed a limit;
 *   `MEDIA_INVALID` for audio shorter than one window; `ABORTED`; with the checkpoint's template, the errors of
 *   `OmniTokenizer.renderChat`
 */
export async function buildPrompt(
  messages: readonly LoadedMessage[],
  tokenizer: OmniTokenizer,
  options: PromptOptions,
): Promise<Prompt> {
  if (messages.length === 0) throw invalid("there are no messages");
  return new PromptBuilder(tokenizer, options).build(messages);
}

class PromptBuilder {
  readonly #tokenizer: OmniTokenizer;
  readonly #options: PromptOptions;
  readonly #framing: AudioFraming;
  readonly #limits: PromptLimits;
  readonly #turns: Turns;
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
    this.#turns = new Turns("building the prompt", options.signal);
  }

  async build(messages: readonly LoadedMessage[]): Promise<Prompt> {
    const sources = messages.flatMap((message) => message.content.flatMap((part) => visionSource(part) ?? []));
    const { vision } = this.#options;
    const items = vision ? await this.#turns.during(planVision(sources, vision, this.#limits.visionTokens)) : [];
    this.#visionItems = [...items];
    if (this.#options.template === "checkpoint") await this.#addPieces(await this.#renderChat(messages));
    else await this.#addConversation(messages);

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

  async #renderChat(messages: readonly LoadedMessage[]): Promise<Piece[]> {
    const chat: ChatMessage[] = [];
    let characters = 0;
    for (const { role, content } of messages) {
      const texts = content.map((part) => (part.type === "text" ? part.text : misplaced(part, "a chat template")));
      await this.#checkText(...texts);
      for (const { length } of texts) characters += length;
      if (characters > maxChatCharacters)
        throw invalid(`the messages have more than ${maxChatCharacters} characters, too many for a chat template`);
      chat.push({ role, content: texts.join("") });
    }
    const pieces = await this.#tokenizer.renderChat(chat, {}, { signal: this.#options.signal });
    const pads = Object.values(padStrings).map((pad) => this.#tokenizer.specialId(pad));
    for (const piece of pieces)
      if (typeof piece !== "string" && pads.includes(this.#tokenizer.specialId(piece.control)))
        throw invalid(`the chat template writes ${piece.control}, which marks the position of media`);
    return pieces;
  }

  async #addConversation(messages: readonly LoadedMessage[]): Promise<void> {
    for (const [i, message] of messages.entries()) {
      if (message.role === "user") await this.#addUser(message.content);
      else if (message.content.some((part) => part.type === "speech"))
        await this.#addSpokenReply(message, `message ${i}`);
      else await this.#addText(message);
    }
    const { speech } = this.#options;
    if (speech !== null) await this.#addPieces([replyHeader(speech)]);
  }

  async #addUser(content: readonly LoadedPart[]): Promise<void> {
    await this.#addPieces(["USER:"]);
    for (const part of content) await this.#addPieces(this.#userPieces(part));
    await this.#addPieces(["\n"]);
  }

  #userPieces(part: LoadedPart): Piece[] {
    switch (part.type) {
      case "text":
        return [part.text];
      case "audio":
        return this.#audioPieces(part.samples, part.name);
      case "image":
        return [{ pad: "vision", count: this.#visionItems.shift()!.units[0]!.tokens }, "\n"];
      case "video":
        return this.#videoPieces(part.video, part.samples);
      default:
        return misplaced(part, "a user message");
    }
  }

  /** Adds a system prompt, or an earlier reply as text. The end of text follows each part. */
  async #addText({ role, content }: LoadedMessage): Promise<void> {
    await this.#addPieces([`${role.toUpperCase()}:`]);
    for (const part of content) {
      if (part.type !== "text") misplaced(part, `a message of role ${role}`);
      else await this.#addPieces([part.text, { control: this.#tokenizer.endText }]);
    }
    await this.#addPieces(["\n"]);
  }

  /** Adds an earlier spoken reply: text and codec ids in the same rows, the acoustic books one row late. */
  async #addSpokenReply({ role, content }: LoadedMessage, name: string): Promise<void> {
    if (role !== "assistant") misplaced({ type: "speech" }, `a message of role ${role}`);
    await this.#addPieces([replyHeader(true)]);
    const segments = content.flatMap((part, j) => {
      if (part.type !== "speech") return misplaced(part, "a spoken reply");
      return part.segments.map((segment, k) => ({ ...segment, name: `${name}, part ${j}, segment ${k}` }));
    });
    for (const [i, { text, codes, name }] of segments.entries()) {
      const first = this.#textIds.length;
      this.#checkLength(first + Math.floor(codes.length / codecBooks));
      const rows = speechRows(codes, name, this.#options.speechCodes);
      await this.#addPieces([text, { control: i === segments.length - 1 ? this.#tokenizer.endText : "</pause>" }]);
      const tokens = this.#textIds.length - first;
      if (tokens > rows.length) {
        throw invalid(
          `the speech of ${shown(text)} has ${rows.length - 1} frames for ${tokens} text tokens; ` +
            "it must be at least as long as its text",
        );
      }
      for (const [row, codecIds] of rows.entries()) this.#speechRows.set(first + row, codecIds);
      while (this.#textIds.length < first + rows.length) this.#textIds.push(textPadId);
    }
    await this.#addPieces(["\n"]);
  }

  #audioPieces(samples: Float32Array, name: string): Piece[] {
    const seconds = samples.length / this.#framing.sampleRate;
    if (seconds > this.#limits.audioSeconds) {
      throw invalid(
        `${name} lasts ${seconds.toFixed(1)} s, at most ${this.#limits.audioSeconds} s are possible; ` +
          "shorten it, split it into several parts, or raise limits.audioSeconds",
      );
    }
    return [
      { control: "<|audio|>" },
      { pad: "audio", count: this.#addAudio(samples, name) },
      { control: "<|/audio|>" },
    ];
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
      return [{ control: piece.type === "audioStart" ? "<|audio|>" : "<|/audio|>" }];
    });
  }

  async #addPieces(pieces: readonly Piece[]): Promise<void> {
    for (const piece of pieces) {
      if (typeof piece === "string") {
        await this.#checkText(piece);
        for (const _ of this.#tokenizer.encodeSteps(piece, this.#textIds)) await this.#pause();
        this.#text += piece;
      } else if ("control" in piece) {
        this.#textIds.push(this.#tokenizer.specialId(piece.control));
        this.#text += piece.control;
      } else this.#addPlaceholders(piece.pad, piece.count);
      await this.#pause();
    }
  }

  #addPlaceholders(pad: "audio" | "vision", count: number): void {
    this.#checkLength(this.#textIds.length + count);
    const id = this.#tokenizer.specialId(padStrings[pad]);
    for (let i = 0; i < count; i++) this.#rows[pad].push(this.#textIds.push(id) - 1);
    this.#text += `${padStrings[pad]}*${count}`;
  }

  /** Refuses text that cannot fit, in parts that follow one another, before it is joined or encoded. */
  async #checkText(...texts: string[]): Promise<void> {
    let before = this.#textIds.length;
    for (const text of texts) {
      let least = 0;
      for (const tokens of this.#tokenizer.leastIds(text)) {
        least = tokens;
        await this.#pause(before + least);
      }
      before += Math.max(0, least - 6); // a character that two parts share has up to six bytes too many
    }
  }

  async #pause(tokens = this.#textIds.length): Promise<void> {
    this.#checkLength(tokens);
    if (this.#turns.due) await this.#turns.next();
  }

  /** Checks a lower bound of the prompt's length. */
  #checkLength(tokens: number): void {
    const { sequenceTokens } = this.#limits;
    const { positions = Number.POSITIVE_INFINITY } = this.#options;
    if (tokens <= sequenceTokens && tokens < positions) return;
    const media = `${this.#rows.vision.length} visual, ${this.#rows.audio.length} audio`;
    const limit =
      positions <= sequenceTokens
        ? `the model has ${positions} positions`
        : `at most ${sequenceTokens} are possible (limits.sequenceTokens)`;
    throw new CaracalError(
      "INVALID_ARGUMENT",
      `prompt: the request has at least ${tokens} tokens (${media}), ${limit}; shorten the conversation or its media`,
      { tokens, limit: Math.min(positions, sequenceTokens) },
    );
  }
}

/** Ids are i32. */
const mostSpeechCodes = 2 ** 31 - reservedSpeechIds;

/** Codec ids of a segment, [frames + 1][4]: semantic ids then the end id; acoustic ids one row late. */
function speechRows(codes: ArrayLike<number>, name: string, count = mostSpeechCodes): number[][] {
  const frames = codes.length / codecBooks;
  if (!Number.isInteger(frames))
    throw invalid(`${name}: codes must be whole frames of ${codecBooks} codes, got ${codes.length} values`);
  const bad = Array.from(codes).findIndex((code) => !(Number.isInteger(code) && code >= 0 && code < count));
  if (bad >= 0)
    throw invalid(`${name}: codes[${bad}] must be a whole number from 0 to ${count - 1}, got ${shown(codes[bad])}`);
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
