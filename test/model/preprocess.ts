import { readFileSync } from "node:fs";
import type { PreprocessCases } from "../../lib/verify/preprocess.js";

/** Results of LongCat-Flash-Omni's published preprocessing functions. */
export const preprocess: { [Section in keyof PreprocessCases]: PreprocessCases[Section][] } = JSON.parse(
  readFileSync(new URL("../golden/preprocess.json", import.meta.url), "utf8"),
);
