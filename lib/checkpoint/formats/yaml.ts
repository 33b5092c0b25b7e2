import { Lexer, Parser, parse } from "yaml";
import { CaracalError } from "../../errors.js";
import { invalid, quote } from "../problems.js";
import { maxDepth } from "./json.js";

/**
 * Reads YAML, at a stretch: in a time that grows with the square of the text's length.
 * @throws {CaracalError} `CHECKPOINT_INVALID` when `text` is not YAML, or nested deeply; the message names `file`
 */
export function parseYaml(text: string, file: string): unknown {
  try {
    checkDepth(text, file);
    return parse(text, { logLevel: "error" });
  } catch (error) {
    if (error instanceof CaracalError) throw error;
    throw invalid(file, `not YAML: ${quote((error as Error).message)}`, error);
  }
}

/** Refuses deep nesting, at which `parse` would use up the stack: a regular expression that finds none ends the process. */
function checkDepth(text: string, file: string): void {
  const parser = new Parser();
  for (const lexeme of new Lexer().lex(text)) {
    for (const _ of parser.next(lexeme)); // what is complete is not needed
    const collections = parser.stack.filter((token) => "items" in token);
    if (collections.length > maxDepth) throw invalid(file, `nested deeper than ${maxDepth} levels`);
  }
}
