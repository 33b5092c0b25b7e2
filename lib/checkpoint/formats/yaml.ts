import { CaracalError } from "../../errors.js";
import { invalid, quote } from "../problems.js";
import { maxDepth } from "./json.js";

/**
 * Reads YAML, at a stretch: in a time that grows with the square of the text's length.
 * @throws {CaracalError} `CHECKPOINT_INVALID` when `text` is not YAML, or nested deeply; the message names `file`
 */
export async function parseYaml(text: string, file: string): Promise<unknown> {
  const yaml = await import("yaml"); // importing it takes as long as a quarter of this library
  try {
    checkDepth(yaml, text, file);
    return yaml.parse(text, { logLevel: "error" });
  } catch (error) {
    if (error instanceof CaracalError) throw error;
    throw invalid(file, `not YAML: ${quote((error as Error).message)}`, error);
  }
}

/** Refuses deep nesting, at which `parse` would use up the stack: a regular expression that finds none ends the process. */
function checkDepth({ Lexer, Parser }: typeof import("yaml"), text: string, file: string): void {
  const parser = new Parser();
  for (const lexeme of new Lexer().lex(text)) {
    for (const _ of parser.next(lexeme)); // what is complete is not needed
    const collections = parser.stack.filter((token) => "items" in token);
    if (collections.length > maxDepth) throw invalid(file, `nested deeper than ${maxDepth} levels`);
  }
}
