import { z } from "zod";
import { shown } from "../errors.js";
import { refuseName } from "../options.js";
import { invalid, Refusal } from "./errors.js";
import { LongString } from "./longString.js";

// Fields that requests of several kinds have, and how a client is told of a wrong one.

/** A field whose value does not matter. */
export const anything = z.unknown().optional();

/** Media in base64, decoded later. */
export const mediaText = z.union([z.string(), z.instanceof(LongString)], { error: "it must be a string" });

/** The data URI of a medium; its bytes are decoded later. */
export const dataUri = mediaText.refine((uri) => headOf(uri).startsWith("data:"), {
  error: ({ input }) =>
    /^https?:/i.test(headOf(input as string | LongString))
      ? "remote URLs are not fetched: send the bytes, as data:image/png;base64,…"
      : "it must be a data: URI, such as data:image/png;base64,…",
});
const headOf = (text: string | LongString) => (typeof text === "string" ? text.slice(0, 256) : text.head);

/** Bytes of a text: more than any prompt takes. */
const mostText = 2 ** 20;
const tooLong = `it has more than ${mostText} bytes`;
/** Text of any length that a prompt could take. */
export const text = z.preprocess(
  (value) => (value instanceof LongString && value.length <= mostText ? value.text : value),
  z.string({ error: ({ input }) => (input instanceof LongString ? tooLong : "it must be text") }),
);

type Issue = z.core.$ZodIssue;

/**
 * The refusal of a field that a schema found to be wrong.
 * @param fields that are known at the top
 * @param where what has them, for messages
 */
export function refusalOf(issue: Issue, fields: readonly string[], where: string): Refusal {
  const param = issue.path.reduce<string>((path, key) => {
    return typeof key === "number" ? `${path}[${key}]` : path === "" ? String(key) : `${path}.${String(key)}`;
  }, "");
  if (issue.code !== "unrecognized_keys") return invalid(issue.message, param || null);
  const [key] = issue.keys as [string];
  if (param === "") return unknownField(key, fields, where);
  return invalid(`it has no field ${shown(key)}`, param, "unknown_field");
}

/** Names the field that may be meant. */
function unknownField(key: string, fields: readonly string[], where: string): Refusal {
  try {
    refuseName(where, key, fields, "field");
  } catch (error) {
    return new Refusal({
      status: 400,
      message: (error as Error).message,
      param: key.slice(0, 64),
      code: "unknown_field",
    });
  }
}
