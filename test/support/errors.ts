import { expect } from "vitest";
import type { ErrorCode } from "../../lib/errors.js";

/** Matches a `CaracalError` by its code: `expect(run).toThrow(code("DISPOSED"))`. */
export const code = (expected: ErrorCode) => expect.objectContaining({ name: "CaracalError", code: expected });
