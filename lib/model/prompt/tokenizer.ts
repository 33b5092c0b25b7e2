import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { CaracalError, throwIfAborted } from "../../errors.js";
import { checkOptionNames } from "../../options.js";
import { Template, Tokenizer } from "./huggingface.js";

/**
 * The special strings of LongCat-Flash-Omni, in order. They take the reserved vocabulary entries `<mask_110>`,
 * `<mask_111>`, … of the text tokenizer, by plain replacement before encoding.
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
export type SpecialString = (typeof specialStrings)[number];

/** The id that the published serving code expects `</pause>` to have. */
export const requiredPauseId = 137;
/** The id that pads text alongside speech history; it contributes nothing to an embedding. */
export const textPadId = 3;

const firstMask = 110;
const maskOf = new Map<string, string>(specialStrings.map((special, i) => [special, `<mask_${firstMask + i}>`]));
const specialOf = new Map([...maskOf].map(([special, mask]) => [mask, special]));

export type JsonObject = Readonly<Record<string, unknown>>;

/** A message for a checkpoint's own chat template. */
export interface ChatMessage {
  readonly role: string;
  readonly content: string;
}

export interface OpenTokenizerOptions {
  readonly signal?: AbortSignal | undefined;
}
const openTokenizerOptions = { signal: true } satisfies Record<keyof OpenTokenizerOptions, true>;

/** The tokenizer of a model directory, with the Omni special strings. It adds no BOS or EOS. */
export class OmniTokenizer {
  readonly #tokenizer: Tokenizer;
  readonly #specialIds: ReadonlyMap<string, number>;
  /** End of text (`</longcat_s>`). */
  readonly endText: string;
  readonly endId: number;
  /** The checkpoint's Jinja chat template, or null. */
  readonly chatTemplate: string | null;
  readonly #config: JsonObject;

  /**
   * @param json contents of `tokenizer.json`
   * @param config contents of `tokenizer_config.json`
   * @param source the name of the origin in errors
   * @param chatTemplate contents of `chat_template.jinja`; by default the template in `config`, if any
   * @throws {CaracalError} `CHECKPOINT_INVALID` for a broken file, a missing special entry, or `</pause>` with an id
   *   other than 137
   */
  constructor(json: JsonObject, config: JsonObject, source = "tokenizer.json", chatTemplate?: string) {
    try {
      this.#tokenizer = new Tokenizer(json, config);
    } catch (cause) {
      throw new CaracalError(
        "CHECKPOINT_INVALID",
        `${source} is not a usable tokenizer: ${cause}`,
        { source },
        { cause },
      );
    }
    this.#config = config;
    const id = (token: string): number => {
      const found = this.#tokenizer.token_to_id(token);
      if (found !== undefined) return found;
      throw new CaracalError("CHECKPOINT_INVALID", `${source} has no entry ${token}; is it an Omni checkpoint's?`, {
        token,
      });
    };
    this.#specialIds = new Map(specialStrings.map((special) => [special, id(maskOf.get(special)!)]));
    const pauseId = this.specialId("</pause>");
    if (pauseId !== requiredPauseId) {
      throw new CaracalError(
        "CHECKPOINT_INVALID",
        `${source}: expected </pause> (${maskOf.get("</pause>")}) to have id ${requiredPauseId}, got ${pauseId}; ` +
          "this is not the tokenizer that LongCat-Flash-Omni was trained with",
        { expected: requiredPauseId, got: pauseId },
      );
    }
    this.endText = tokenText(config.eos_token) ?? "</longcat_s>";
    this.endId = id(this.endText);
    this.chatTemplate = chatTemplate ?? templateOf(config.chat_template);
  }

  /**
   * Reads `tokenizer.json`, `tokenizer_config.json` and, if present, `chat_template.jinja` from a model directory.
   * @throws {CaracalError} `CHECKPOINT_INVALID` as the constructor, or for a file that is missing or not JSON; `ABORTED`;
   *   `INVALID_ARGUMENT` when an option is unknown
   */
  static async open(directory: string, options: OpenTokenizerOptions = {}): Promise<OmniTokenizer> {
    checkOptionNames("OmniTokenizer.open", options, openTokenizerOptions);
    const { signal } = options;
    const [json, config, template] = await Promise.all([
      readJson(join(directory, "tokenizer.json"), signal),
      readJson(join(directory, "tokenizer_config.json"), signal),
      readFile(join(directory, "chat_template.jinja"), "utf8").catch(() => undefined),
    ]);
    throwIfAborted(signal, "loading the tokenizer");
    return new OmniTokenizer(json, config, join(directory, "tokenizer.json"), template);
  }

  /** The id of a special string. */
  specialId(special: SpecialString): number {
    return this.#specialIds.get(special)!;
  }

  /** Token ids of `text`; each special string in it becomes one id. */
  encode(text: string): number[] {
    let masked = text;
    for (const [special, mask] of maskOf) masked = masked.replaceAll(special, mask);
    return masked === "" ? [] : this.#tokenizer.encode(masked, { add_special_tokens: false }).ids;
  }

  /** The text of `ids`, special strings included. Ids without a token are skipped. */
  decode(ids: ArrayLike<number>): string {
    const tokens = Array.from(ids).filter((id) => this.#tokenizer.id_to_token(id) !== undefined);
    if (tokens.length === 0) return "";
    let text = this.#tokenizer.decode(tokens, { skip_special_tokens: false, clean_up_tokenization_spaces: false });
    for (const [mask, special] of specialOf) text = text.replaceAll(mask, special);
    return text;
  }

  /** Decodes ids that arrive one by one. */
  stream(): TokenStream {
    return new TokenStream(this);
  }

  /**
   * Renders a text-only conversation with the checkpoint's own chat template.
   *
   * @param variables further variables of the template
   * @throws {CaracalError} `CHECKPOINT_INVALID` when the checkpoint has no template, or the template fails
   */
  renderChat(messages: readonly ChatMessage[], variables: JsonObject = {}): string {
    if (this.chatTemplate === null) {
      throw new CaracalError("CHECKPOINT_INVALID", "the checkpoint has no chat template; use the Omni prompt instead");
    }
    const tokens = Object.fromEntries(
      ["bos_token", "eos_token", "pad_token", "unk_token"].map((key) => [key, tokenText(this.#config[key]) ?? ""]),
    );
    try {
      const template = new Template(this.chatTemplate);
      return template.render({ ...tokens, messages: [...messages], add_generation_prompt: true, ...variables });
    } catch (cause) {
      throw new CaracalError("CHECKPOINT_INVALID", `the checkpoint's chat template fails: ${cause}`, {}, { cause });
    }
  }
}

/** A plain copy of a `TokenStream`'s state. */
export interface TokenStreamSnapshot {
  readonly ids: readonly number[];
  readonly decoded: number;
}

/**
 * Decodes ids one by one into text that never splits a character: the bytes of an incomplete UTF-8 sequence are held
 * back. Each id is decoded together with the few before it, since a tokenizer may write a token differently at the start
 * of a text.
 */
export class TokenStream {
  readonly #tokenizer: OmniTokenizer;
  #ids: number[] = []; // context, then ids whose text is held back
  #decoded = 0; // length of the context

  /** @internal Use `OmniTokenizer.stream`. */
  constructor(tokenizer: OmniTokenizer) {
    this.#tokenizer = tokenizer;
  }

  /** Adds an id and returns the text that became final. */
  push(id: number): string {
    this.#ids.push(id);
    const text = this.#newText();
    if (text.endsWith("\uFFFD") || text === "") return "";
    this.#ids = this.#ids.slice(this.#decoded);
    this.#decoded = this.#ids.length;
    return text;
  }

  /** Ends the text and returns what was held back; an incomplete character becomes U+FFFD. */
  end(): string {
    const text = this.#newText();
    this.#ids = [];
    this.#decoded = 0;
    return text;
  }

  /** The text of the ids after the context. */
  #newText(): string {
    const context = this.#tokenizer.decode(this.#ids.slice(0, this.#decoded));
    return this.#tokenizer.decode(this.#ids).slice(context.length);
  }

  /** Copies the state. `restore` rolls a reply back to it when a live session retracts ids. */
  snapshot(): TokenStreamSnapshot {
    return { ids: [...this.#ids], decoded: this.#decoded };
  }

  /** Returns to the state of a snapshot. */
  restore(snapshot: TokenStreamSnapshot): void {
    this.#ids = [...snapshot.ids];
    this.#decoded = snapshot.decoded;
  }
}

/** The text of a token in `tokenizer_config.json`, which is a string or an object with `content`. */
function tokenText(token: unknown): string | undefined {
  if (typeof token === "string") return token;
  const content = (token as { content?: unknown } | null | undefined)?.content;
  return typeof content === "string" ? content : undefined;
}

/** The chat template: the only one, or the one named "default". */
function templateOf(value: unknown): string | null {
  if (typeof value === "string") return value;
  if (!Array.isArray(value)) return null;
  const named = value as { name?: string; template?: string }[];
  return named.find(({ name }) => name === "default")?.template ?? null;
}

async function readJson(path: string, signal: AbortSignal | undefined): Promise<JsonObject> {
  let text: string;
  try {
    text = await readFile(path, { encoding: "utf8", signal });
  } catch (cause) {
    throwIfAborted(signal, "loading the tokenizer");
    throw new CaracalError("CHECKPOINT_INVALID", `cannot read ${path}: ${cause}`, { path }, { cause });
  }
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as JsonObject;
    throw new TypeError("expected an object");
  } catch (cause) {
    throw new CaracalError("CHECKPOINT_INVALID", `${path} is not JSON: ${cause}`, { path }, { cause });
  }
}
