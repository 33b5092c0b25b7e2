import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { CaracalError, throwIfAborted } from "../../errors.js";
import { Template, Tokenizer } from "./huggingface.js";

/**
 * The special strings of LongCat-Flash-Omni, in order: they stand on the reserved vocabulary entries `<mask_110>`,
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
/** The id that pads text beside speech history; it contributes nothing to an embedding. */
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

/** The tokenizer of a checkpoint directory, with the Omni special strings. Adds no BOS or EOS of its own. */
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
   * @param source names the origin in errors
   * @throws CHECKPOINT_INVALID for a broken file, a missing special entry, or `</pause>` with another id than 137
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

  /** Reads `tokenizer.json`, `tokenizer_config.json` and, if there is one, `chat_template.jinja` of a checkpoint. */
  static async load(directory: string, options: { signal?: AbortSignal } = {}): Promise<OmniTokenizer> {
    const [json, config, template] = await Promise.all([
      readJson(join(directory, "tokenizer.json"), options.signal),
      readJson(join(directory, "tokenizer_config.json"), options.signal),
      readFile(join(directory, "chat_template.jinja"), "utf8").catch(() => undefined),
    ]);
    throwIfAborted(options.signal, "loading the tokenizer");
    return new OmniTokenizer(json, config, join(directory, "tokenizer.json"), template);
  }

  /** The id of a special string. */
  specialId(special: SpecialString): number {
    return this.#specialIds.get(special)!;
  }

  /** Token ids of `text`; special strings in it become their one id. */
  encode(text: string): number[] {
    let masked = text;
    for (const [special, mask] of maskOf) masked = masked.replaceAll(special, mask);
    return masked === "" ? [] : this.#tokenizer.encode(masked, { add_special_tokens: false }).ids;
  }

  /** The text of `ids`, special strings included. Ids without a token are skipped. */
  decode(ids: ArrayLike<number>): string {
    const known = Array.from(ids).filter((id) => this.#tokenizer.id_to_token(id) !== undefined);
    if (known.length === 0) return "";
    let text = this.#tokenizer.decode(known, { skip_special_tokens: false, clean_up_tokenization_spaces: false });
    for (const [mask, special] of specialOf) text = text.replaceAll(mask, special);
    return text;
  }

  /** A decoder for ids that arrive one by one. */
  stream(): TokenStream {
    return new TokenStream(this);
  }

  /**
   * Renders a text-only conversation with the checkpoint's own chat template.
   *
   * @throws CHECKPOINT_INVALID when the checkpoint has none, or it fails
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

/** A plain copy of a `TokenStream`. */
export interface TokenStreamSnapshot {
  readonly ids: readonly number[];
  readonly decoded: number;
}

/**
 * Decodes ids one by one into text that is never cut inside a character: bytes of an unfinished UTF-8 sequence are held
 * back. Each id is decoded beside the few before it, since a tokenizer may write a token differently at a text's start.
 */
export class TokenStream {
  readonly #tokenizer: OmniTokenizer;
  #ids: number[] = []; // context, then ids not yet turned into text
  #decoded = 0; // how many of #ids are context

  constructor(tokenizer: OmniTokenizer) {
    this.#tokenizer = tokenizer;
  }

  /** Adds an id; returns the text that is now certain. */
  push(id: number): string {
    this.#ids.push(id);
    const text = this.#tokenizer.decode(this.#ids);
    const before = this.#tokenizer.decode(this.#ids.slice(0, this.#decoded));
    if (text.endsWith("\uFFFD") || text.length <= before.length) return "";
    this.#ids = this.#ids.slice(this.#decoded);
    this.#decoded = this.#ids.length;
    return text.slice(before.length);
  }

  /** No more ids: returns what was held back, an unfinished character as U+FFFD. */
  end(): string {
    const rest = this.#tokenizer
      .decode(this.#ids)
      .slice(this.#tokenizer.decode(this.#ids.slice(0, this.#decoded)).length);
    this.#ids = [];
    this.#decoded = 0;
    return rest;
  }

  snapshot(): TokenStreamSnapshot {
    return { ids: [...this.#ids], decoded: this.#decoded };
  }

  restore(snapshot: TokenStreamSnapshot): void {
    this.#ids = [...snapshot.ids];
    this.#decoded = snapshot.decoded;
  }
}

/** A token in `tokenizer_config.json` is a string or an object with `content`. */
function tokenText(token: unknown): string | undefined {
  if (typeof token === "string") return token;
  const content = (token as { content?: unknown } | null | undefined)?.content;
  return typeof content === "string" ? content : undefined;
}

/** One template, or a list of named ones, of which "default" counts. */
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
