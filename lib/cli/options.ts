import { InvalidArgumentError, Option } from "commander";
import { CaracalError } from "../errors.js";

/** The numbers that an option takes. */
interface Range {
  readonly min?: number;
  /** An exclusive minimum. */
  readonly above?: number;
  readonly max?: number;
}

/** A parser of finite numbers in a range. */
export const numberIn = (range: Range): ((text: string) => number) => parser("number", Number.isFinite, range);

/** A parser of whole numbers in a range. */
export const integerIn = (range: Range): ((text: string) => number) =>
  parser("whole number", Number.isSafeInteger, range);

function parser(what: string, isValid: (value: number) => boolean, range: Range): (text: string) => number {
  const { min = -Infinity, above = -Infinity, max = Infinity } = range;
  return (text) => {
    const value = text.trim() === "" ? Number.NaN : Number(text);
    if (isValid(value) && value >= min && value > above && value <= max) return value;
    throw new InvalidArgumentError(`Expected a ${what}${describe(range)}.`);
  };
}

function describe({ min, above, max }: Range): string {
  const lower = min !== undefined ? ` of at least ${min}` : above !== undefined ? ` above ${above}` : "";
  if (max === undefined) return lower;
  return lower === "" ? ` of at most ${max}` : `${lower} and at most ${max}`;
}

/** Parses a number of at least 0. */
export const parseNonNegative = numberIn({ min: 0 });

/** Parses a number above 0. */
export const parseAboveZero = numberIn({ above: 0 });

/** Parses a probability that some outcome must have: above 0 and at most 1. */
export const parseProbability = numberIn({ above: 0, max: 1 });

/** Parses a whole number. */
export const parseInteger = integerIn({});

/** Parses a whole number of at least 0. */
export const parseCount = integerIn({ min: 0 });

/** Parses a whole number of at least 1. */
export const parsePositive = integerIn({ min: 1 });

/** A parser of comma-separated values, each of which `parse` takes. */
export function listOf<T>(parse: (text: string) => T): (text: string) => T[] {
  return (text) =>
    text.split(",").map((item) => {
      try {
        return parse(item);
      } catch (error) {
        if (!(error instanceof InvalidArgumentError)) throw error;
        throw new InvalidArgumentError(`Item '${item}' of the list: ${error.message}`);
      }
    });
}

/** Parses a regular expression. */
export function parseRegExp(text: string): RegExp {
  try {
    return new RegExp(text);
  } catch (cause) {
    throw new InvalidArgumentError(`Expected a regular expression: ${(cause as Error).message}.`);
  }
}

/** A parser of file names with one ending, `.svg` for example: a file of another format would be written otherwise. */
export function fileEndingIn(ending: string): (text: string) => string {
  return (text) => {
    if (text.toLowerCase().endsWith(ending)) return text;
    throw new InvalidArgumentError(`Expected a file name that ends in ${ending}, since no other format is written.`);
  };
}

/** What the library's errors say to programs, and what it is on the command line. */
const spoken: Readonly<Record<string, string>> = {
  "load the model with a larger kvCacheTokens": "raise --kv-tokens",
  "read it and pass its bytes": "save it as a file, and pass that",
  "limits.audioSeconds": "--audio-seconds",
  "limits.imagePixels": "--image-pixels",
  "generate: ": "",
  ...Object.fromEntries(
    ["maxPixels", "maxSeconds", "maxFrames", "maxTokens", "temperature", "topK", "topP", "repetitionPenalty"].map(
      (name) => [name, `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`],
    ),
  ),
};
const spokenWords = new RegExp(Object.keys(spoken).join("|"), "g");

/** An error of the library in the words of `caracal run`: with its options, and advice that a command line can follow. */
export function asCommandLine(error: unknown): unknown {
  if (!(error instanceof CaracalError)) return error;
  const message = error.message.replace(spokenWords, (words) => spoken[words]!);
  return new CaracalError(error.code, message, error.details, { cause: error });
}

/** Not a mandatory option of commander: it would be missed before the misspelt one in its place is found. */
export const modelOption = () => new Option("--model <dir>", "model directory (required)");

/** @throws {CaracalError} `INVALID_ARGUMENT` when there is no --model */
export function givenModel({ model }: { readonly model?: string }): string {
  if (model !== undefined) return model;
  throw new CaracalError("INVALID_ARGUMENT", "there is no model: pass --model and its directory");
}

export const deviceOption = () =>
  new Option("--device <backend>", "where to compute; auto takes a usable GPU, otherwise the CPU")
    .choices(["auto", "cpu", "cuda"])
    .default("auto");

export const threadsOption = () =>
  new Option("--threads <n>", "CPU threads (default: all that this process may use)").argParser(
    integerIn({ min: 1, max: 1024 }),
  );

export const activationsOption = () =>
  new Option("--activations <dtype>", "dtype of values between operations").choices(["f32", "bf16"]).default("f32");

export const speechDtypeOption = () =>
  new Option("--speech-dtype <dtype>", "dtype of the weights of the audio encoder and the speech decoder")
    .choices(["stored", "bf16"])
    .default("stored");

export const strictOption = () => new Option("--strict", "refuse a model with tensors that the library does not know");

export const jsonOption = () => new Option("--json", "print one JSON document instead of text");
