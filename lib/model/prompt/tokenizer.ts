import { join } from "node:path";
import { readText } from "../../checkpoint/formats/file.js";
import { parseJson } from "../../checkpoint/formats/json.js";
import { invalid } from "../../checkpoint/problems.js";
import { checkDirectory } from "../../checkpoint/survey.js";
import { CaracalError, shown, throwIfAborted } from "../../errors.js";
import {
  aString,
  checkedObjects,
  checkObject,
  checkOption,
  checkOptionNames,
  checkOptions,
  integer,
  isObject,
  isRecord,
  type OptionRule,
  optional,
  plainList,
  refuseValue,
  wholeNumber,
} from "../../options.js";
import { type Steps, Turns } from "../../turns.js";
import { stepsPerYield, wholeCharacters } from "./bytePairs.js";
import { type RenderOptions, renderTemplate } from "./chatTemplate.js";
import { parseTokenizer, type TokenizerFile } from "./tokenizerFile.js";
import { type Token, TokenStream } from "./tokenStream.js";

/**
 * The names of LongCat-Flash-Omni's special tokens, in order. They take the reserved vocabulary entries `<mask_110>`,
 * `<mask_111>`, … of the text tokenizer.
 */
export const specialStrings = [
  "<|audio|>",
  "<|/audio|>",
  "<|audio_pad|>",
  "</pause>",
  "<begin-of-system>",
  "<begin-of-user>",
  "<begin-of-assistant>",
  "<begin-of-voice-assistant>",
  "<|image_pad|>",
  "<image>",
] as const;
/** The spelling of a control token of the prompt format. */
export type SpecialString = (typeof specialStrings)[number];

/** The id that the published serving code expects `</pause>` to have. */
export const requiredPauseId = 137;
/** The id that pads text alongside speech history; it contributes nothing to an embedding. */
export const textPadId = 3;

const firstMask = 110;
const maskOf = new Map<string, string>(specialStrings.map((special, i) => [special, `<mask_${firstMask + i}>`]));

/** An object of a parsed JSON file. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** A message for a checkpoint's own chat template. */
export interface ChatMessage {
  readonly role: string;
  readonly content: string;
}

/** Text, or a control token by its name, such as `<|audio|>` or `</longcat_s>`. */
export type TextPiece = string | { readonly control: string };

/** Options of what may take long: the event loop has its turns meanwhile, in which an abort ends it. */
export interface TokenizerOptions {
  readonly signal?: AbortSignal | undefined;
}
const tokenizerOptions = { signal: true } satisfies Record<keyof TokenizerOptions, true>;

/** The contents of a tokenizer's files. */
export interface TokenizerContents {
  /** `tokenizer.json`. */
  readonly tokenizer: JsonObject;
  /** `tokenizer_config.json`. */
  readonly config: JsonObject;
  /** `chat_template.jinja`. Default: the template in `config`, if any. */
  readonly chatTemplate?: string | undefined;
  /** The name of the origin in errors. Default `tokenizer.json`. */
  readonly source?: string | undefined;
}
const text = optional({ accepts: (value) => typeof value === "string", expected: "a string" });
const tokenizerContents = {
  tokenizer: true,
  config: true,
  chatTemplate: text,
  source: text,
} satisfies Record<keyof TokenizerContents, OptionRule | true>;

const loading = "loading the tokenizer";
const files = { tokenizer: "tokenizer.json", config: "tokenizer_config.json", template: "chat_template.jinja" };
const maxBytes = { tokenizer: 64 << 20, config: 4 << 20, template: 1 << 20 };

/**
 * The tokenizer of a model directory, with the Omni special tokens. It adds no BOS or EOS.
 *
 * Text is only text: `encode` never gives a control id, also for a text that spells the name of one. Control ids come
 * from `specialId`.
 */
export class OmniTokenizer {
  readonly #file: TokenizerFile;
  readonly #names: ReadonlyMap<number, string>; // of control tokens, special strings instead of masks
  readonly #specialIds: ReadonlyMap<string, number>; // by either name
  /** End of text (`</longcat_s>`). */
  readonly endText: string;
  readonly endId: number;
  /** The checkpoint's Jinja chat template, or null. */
  readonly chatTemplate: string | null;
  readonly #config: JsonObject;
  readonly #source: string;

  private constructor(file: TokenizerFile, config: JsonObject, source: string, chatTemplate: string | undefined) {
    this.#file = file;
    this.#config = isRecord(config) ? config : {};
    this.#source = source;
    const { controls } = this.#file;
    const id = (token: string): number => {
      const found = controls.get(token);
      if (found !== undefined) return found;
      throw invalid(source, `has no entry ${shown(token)} in added_tokens; is it an Omni checkpoint's?`);
    };
    const specials = specialStrings.map((special) => [special, id(maskOf.get(special)!)] as const);
    this.#specialIds = new Map([...controls, ...specials]);
    this.#names = new Map(Array.from(this.#specialIds, ([name, id]) => [id, name]));
    const pauseId = this.specialId("</pause>");
    if (pauseId !== requiredPauseId) {
      throw new CaracalError(
        "CHECKPOINT_INVALID",
        `${source}: expected </pause> (${maskOf.get("</pause>")}) to have id ${requiredPauseId}, got ${pauseId}; ` +
          "this is not the tokenizer that LongCat-Flash-Omni was trained with",
        { expected: requiredPauseId, got: pauseId },
      );
    }
    this.endText = tokenText(this.#config.eos_token) ?? "</longcat_s>";
    this.endId = id(this.endText);
    this.chatTemplate = chatTemplate ?? templateOf(this.#config.chat_template);
  }

  /**
   * Makes a tokenizer of the contents of its files. JavaScript lists the keys of a large object at a stretch, some 30 ms for
   * the 131,000 of the published vocabulary; `open`, which reads the file itself, gives the event loop its turns throughout.
   * @throws {CaracalError} `CHECKPOINT_INVALID` for a broken file, a tokenizer of another kind than the published one, a
   *   missing special entry, or `</pause>` with an id other than 137; `ABORTED`; `INVALID_ARGUMENT` for an unknown option
   *   or a name or template that is no string; `NATIVE_LOAD_FAILED` when the addon cannot be loaded
   */
  static async from(contents: TokenizerContents, options: TokenizerOptions = {}): Promise<OmniTokenizer> {
    checkObject("OmniTokenizer.from", "contents", contents);
    checkOptions("OmniTokenizer.from", contents, tokenizerContents);
    checkOptions("OmniTokenizer.from", options, tokenizerOptions);
    const { tokenizer, config, chatTemplate, source = files.tokenizer } = contents;
    const turns = new Turns(loading, options.signal);
    const file = await turns.during(parseTokenizer(tokenizer, source));
    return new OmniTokenizer(file, config, source, chatTemplate);
  }

  /**
   * Reads `tokenizer.json`, `tokenizer_config.json` and, if present, `chat_template.jinja` from a model directory.
   * @throws {CaracalError} `CHECKPOINT_INVALID` as `from`, or for a file that is missing, too large or not JSON;
   *   `IO_ERROR`; `ABORTED`; `INVALID_ARGUMENT` when the directory is no path, or an option is unknown
   */
  static async open(directory: string, options: TokenizerOptions = {}): Promise<OmniTokenizer> {
    checkOptionNames("OmniTokenizer.open", options, tokenizerOptions);
    checkDirectory(directory);
    const { signal } = options;
    const path = (name: keyof typeof files) => join(directory, files[name]);
    const read = async (name: "tokenizer" | "config"): Promise<JsonObject> => {
      const value: unknown = await parseJson(await readText(path(name), maxBytes[name]), path(name));
      if (isRecord(value)) return value;
      throw invalid(path(name), "must hold an object");
    };
    const tokenizer = await read("tokenizer");
    throwIfAborted(signal, loading);
    const config = await read("config");
    const chatTemplate = await readText(path("template"), maxBytes.template).catch(absent);
    throwIfAborted(signal, loading);
    return OmniTokenizer.from({ tokenizer, config, chatTemplate, source: path("tokenizer") }, options);
  }

  /**
   * The id of a control token, by its name: a special string, or one of `added_tokens`.
   * @throws {CaracalError} `INVALID_ARGUMENT` when there is none
   */
  specialId(name: SpecialString | (string & {})): number {
    const id = this.#specialIds.get(name);
    if (id !== undefined) return id;
    throw new CaracalError("INVALID_ARGUMENT", `the tokenizer has no control token ${shown(name)}`, { name });
  }

  /**
   * Token ids of `text`, at most 2^24: about 4 million characters in a second.
   * @throws {CaracalError} `INVALID_ARGUMENT` for what is not a string, a text of more ids, or an unknown option; `ABORTED`
   */
  async encode(text: string, options: TokenizerOptions = {}): Promise<number[]> {
    checkOptions("OmniTokenizer.encode", options, tokenizerOptions);
    checkOption("OmniTokenizer.encode", "text", text, aString);
    return new Turns("encoding text", options.signal).during(this.#listSteps(text));
  }

  /** The ids in one list, which is made at its length: V8 takes 20 ms to move a list of two million that grows. */
  *#listSteps(text: string): Steps<number[]> {
    const pieces: Int32Array[] = [];
    const piece: number[] = [];
    let length = 0;
    const take = () => {
      length += piece.length;
      if (length > maxListed) {
        const message = `OmniTokenizer.encode: the text has more than ${maxListed} ids; encode it in parts`;
        throw new CaracalError("INVALID_ARGUMENT", message, { characters: text.length, most: maxListed });
      }
      pieces.push(Int32Array.from(piece));
      piece.length = 0;
    };
    for (const step of this.encodeSteps(text, piece)) {
      if (piece.length >= stepsPerYield) take();
      yield step;
    }
    take();
    const ids = new Array<number>(length);
    let at = 0;
    for (const found of pieces) {
      yield;
      for (const id of found) ids[at++] = id;
    }
    return ids;
  }

  /** @internal Encodes `text` onto the end of `ids`, and yields now and then. */
  encodeSteps(text: string, ids: number[]): Steps<void> {
    return this.#file.pairs.encode(text, this.#file.patterns, ids);
  }

  /** @internal Yields numbers of ids that longer and longer beginnings of `text` need at least. */
  *leastIds(text: string): Generator<number, void> {
    let sum = 0;
    for (let at = 0; at < text.length; ) {
      const end = wholeCharacters(text, at + charactersPerStep);
      sum += this.#file.pairs.share(Buffer.from(text.slice(at, end)));
      at = end;
      yield Math.floor(sum);
    }
  }

  /**
   * The text of `ids`, with the names of control tokens. Ids without a token are skipped.
   * @throws {CaracalError} `INVALID_ARGUMENT` for what is not a list of whole numbers, text of more than 2^26 characters,
   *   or an unknown option; `ABORTED`
   */
  async decode(ids: ArrayLike<number>, options: TokenizerOptions = {}): Promise<string> {
    checkOptions("OmniTokenizer.decode", options, tokenizerOptions);
    const length = isObject(ids) ? ids.length : Number.NaN; // read once: a list may become longer
    if (!wholeNumber.accepts(length) || length > maxListed)
      refuseValue("OmniTokenizer.decode", "ids", `a list of at most ${maxListed} whole numbers`, ids);
    return new Turns("decoding ids", options.signal).during(this.#decodeSteps(ids, length));
  }

  *#decodeSteps(ids: ArrayLike<number>, length: number): Steps<string> {
    const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });
    const { pairs } = this.#file;
    const pieces: string[] = [];
    let characters = 0;
    const bytes = new Uint8Array(bytesPerPiece + pairs.longest);
    let used = 0;
    for (let i = 0; i < length; i++) {
      const id = ids[i]!;
      if (!integer.accepts(id)) refuseValue("OmniTokenizer.decode", `ids[${i}]`, integer.expected, id);
      const name = this.#names.get(id);
      if (name === undefined) used = pairs.copy(id, bytes, used);
      if (name !== undefined || used > bytesPerPiece) {
        const text = utf8.decode(bytes.subarray(0, used), { stream: name === undefined });
        pieces.push(text, name ?? "");
        characters += text.length + (name ?? "").length;
        if (characters > maxDecoded)
          refuseValue("OmniTokenizer.decode", "ids", `ids of at most ${maxDecoded} characters`, ids);
        used = 0;
      }
      if (i % stepsPerYield === 0) yield;
    }
    pieces.push(utf8.decode(bytes.subarray(0, used)));
    return pieces.join("");
  }

  /** Decodes ids that arrive one by one. */
  stream(): TokenStream {
    return new TokenStream((id) => this.tokenOf(id));
  }

  /** @internal The bytes of an id, or the name of a control token. */
  tokenOf(id: number): Token {
    return this.#names.get(id) ?? this.#file.pairs.bytes(id);
  }

  /**
   * Renders a text-only conversation with the checkpoint's own chat template. The names of control tokens that the
   * template writes become control tokens, those in messages and variables stay text. The template sees the latter with
   * an invisible character after each letter that begins such a name.
   *
   * Some expressions do not come out as in Python's Jinja2, for which templates are written. `{{ true }}` prints `true`
   * instead of `True`, `{{ none }}` nothing instead of `None`, a list `["a", null]` instead of `['a', None]`; `-7 % 3` is
   * −1 instead of 2; and some filters are missing, which is an error.
   *
   * @param variables further variables of the template, as plain data
   * @returns the pieces of the prompt
   * @throws {CaracalError} `CHECKPOINT_INVALID` when the checkpoint has no template, or the template fails, takes more
   *   than `timeLimit` or `memoryLimit`, or writes more than 2^24 characters; `ABORTED`; `INVALID_ARGUMENT` when an option
   *   is unknown or out of range, variables are no plain data or larger than `memoryLimit`, or messages are no list of
   *   objects; `MISSING_TOOL` without `@huggingface/jinja` or Node.js, which renders in a process of its own; `IO_ERROR`
   *   when the system starts none
   */
  async renderChat(
    messages: readonly ChatMessage[],
    variables: JsonObject = {},
    options: RenderOptions = {},
  ): Promise<TextPiece[]> {
    const list = checkedObjects("renderChat", "messages", messages, "{ role, content }");
    checkObject("renderChat", "variables", variables);
    const template = this.chatTemplate;
    if (template === null) {
      throw new CaracalError("CHECKPOINT_INVALID", "the checkpoint has no chat template; use the Omni prompt instead");
    }
    const tokenKeys = ["bos_token", "eos_token", "pad_token", "unk_token"];
    const input = {
      template,
      tokens: Object.fromEntries(tokenKeys.map((key) => [key, tokenText(this.#config[key]) ?? ""])),
      variables: { messages: list, add_generation_prompt: true, ...variables },
      names: this.#specialIds.keys(),
      file: `${this.#source} (${files.template}, or chat_template in ${files.config})`,
    };
    const rendered = await renderTemplate(input, options);
    const pieces = rendered.map((text, i) => (i % 2 === 1 ? { control: text } : text));
    return pieces.filter((piece) => piece !== "");
  }
}

const charactersPerStep = 1 << 16;
const bytesPerPiece = 1 << 16;
/** The longest text that ids are decoded to. */
const maxDecoded = 2 ** 26;
/** More ids than any prompt or reply has. V8 ends the process for an array of eight times as many. */
const maxListed = 2 ** 24;

function absent(error: CaracalError): undefined {
  if (error.code !== "CHECKPOINT_INVALID" || !error.message.endsWith("no such file")) throw error;
}

/** The text of a token in `tokenizer_config.json`, which is a string or an object with `content`. */
function tokenText(token: unknown): string | undefined {
  if (typeof token === "string") return token;
  const content = (token as { content?: unknown } | null | undefined)?.content;
  return typeof content === "string" ? content : undefined;
}

/** Published files have up to three. */
const maxTemplates = 64;

/** The chat template: the only one, or the one named "default". */
function templateOf(value: unknown): string | null {
  if (typeof value === "string") return value;
  if (!Array.isArray(value) || value.length > maxTemplates) return null;
  const named = plainList<unknown>(value).find((entry) => isRecord(entry) && entry.name === "default");
  return isRecord(named) && typeof named.template === "string" ? named.template : null;
}
