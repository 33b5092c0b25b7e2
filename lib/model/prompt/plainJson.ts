import { CaracalError, shown } from "../../errors.js";
import { isObject, isRecord } from "../../options.js";
import type { Steps } from "../../turns.js";

/** Values that are counted between two yields. */
const valuesPerYield = 4096;
/** The characters that a value is taken to need at least, with what is around it. */
const leastCharacters = 8;
/** No string is longer. So fewer than 2^27 values wait, for which V8 would end the process. */
const maxCharacters = 2 ** 29;

/**
 * The JSON of the variables of a chat template. It yields while it adds up what will be written, since an object that
 * others share is written with each of them: a few dozen objects could take all memory.
 * @param memoryLimit in MiB
 * @throws {CaracalError} `INVALID_ARGUMENT` for what is no plain data, or is more than `memoryLimit`
 */
export function* plainJson(variables: object, memoryLimit: number): Steps<string> {
  const most = Math.min(memoryLimit * 2 ** 20, maxCharacters);
  let characters = 0;
  const waiting: unknown[] = [variables];
  for (let count = 1; waiting.length > 0; count++) {
    const value = written(waiting.pop());
    characters += leastCharacters + (typeof value === "string" ? value.length : 0);
    if (Array.isArray(value)) characters += leastCharacters * value.length;
    if (characters > most) throw invalid(`take more than ${most / 2 ** 20} MiB (memoryLimit), or contain themselves`);
    if (isRecord(value)) {
      for (const [key, inner] of Object.entries(value)) {
        characters += key.length;
        waiting.push(inner);
      }
    } else if (Array.isArray(value)) {
      for (let i = 0; i < value.length; i++) {
        waiting.push(value[i]);
        if (i % valuesPerYield === valuesPerYield - 1) yield;
      }
    } else if (isObject(value)) throw invalid(`must be plain data, but hold ${shown(value)}`);
    if (count % valuesPerYield === 0) yield;
  }
  return json(variables);
}

/** What `JSON.stringify` writes in a value's place. */
function written(value: unknown): unknown {
  const toJSON = isObject(value) ? (value as { toJSON?: unknown }).toJSON : undefined;
  return typeof toJSON === "function" ? toJSON.call(value, "") : value;
}

function json(variables: object): string {
  let text: string | undefined;
  try {
    text = JSON.stringify(variables);
  } catch (cause) {
    throw invalid(`must be plain data: ${shown((cause as Error).message)}`, cause);
  }
  if (text?.startsWith("{")) return text;
  throw invalid(`must be plain data, but their toJSON gives ${shown(text)}`);
}

const invalid = (problem: string, cause?: unknown) =>
  new CaracalError("INVALID_ARGUMENT", `the variables of a chat template ${problem}`, {}, { cause });
