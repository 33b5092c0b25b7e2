// lib/native/operations.ts, written from what the addon says of its contracts (native/ops/<family>/<operation>.h).
import { createRequire } from "node:module";
import { join } from "node:path";
import { root, writeIfChanged } from "./steps.mjs";

const types = {
  tensor: "Handle",
  "tensor?": "Handle",
  "tensor[]": "readonly Handle[]",
  boolean: "boolean",
  integer: "number",
  number: "number",
  "integer[]": "readonly number[]",
  "number[]": "readonly number[]",
};

/** The union of a choice's names, or the type that has just those. */
function choiceType(choices, { dtypes, activations }) {
  const names = choices.join();
  if (names === dtypes.join()) return "DType";
  if (names === activations.join()) return "Activation";
  return choices.map((name) => JSON.stringify(name)).join(" | ");
}

/** The source of lib/native/operations.ts for `contracts`, the addon's own description. */
export function operationsSource(contracts) {
  const list = (name, values) =>
    `export const ${name} = [${values.map((value) => JSON.stringify(value)).join(", ")}] as const;\n`;
  const operations = contracts.operations.slice().sort((a, b) => (a.name < b.name ? -1 : 1));
  const members = operations.map(({ name, fields }) => {
    const lines = fields.map(({ name: field, kind, inout, choices }) => {
      const type = kind === "choice" ? choiceType(choices, contracts) : types[kind];
      const note = inout ? "    /** Written in place. */\n" : "";
      const property = /^\w+$/.test(field) ? field : JSON.stringify(field);
      return `${note}    ${property}${kind === "tensor" ? `: ${type}` : `?: ${type} | undefined`};\n`;
    });
    return `  ${name}: {\n${lines.join("")}  };\n`;
  });
  const names = operations.map(
    ({ name, fields }) => `  ${name}: [${fields.map((field) => JSON.stringify(field.name)).join(", ")}],\n`,
  );
  return `// Written by scripts/lib/contracts.mjs from the contracts in native/ops; \`npm run build\` keeps it up to date.

/** Element types of a tensor. \`f8e4m3\` is the OCP E4M3 format without infinities (torch \`float8_e4m3fn\`). */
${list("dtypes", contracts.dtypes)}export type DType = (typeof dtypes)[number];

/** \`gelu\` is the exact erf form; \`relu6\` is min(max(x, 0), 6). */
${list("activations", contracts.activations)}export type Activation = (typeof activations)[number];

/** The error codes that native code throws. */
${list("nativeErrorCodes", contracts.errorCodes)}
/** The arguments of every native operation; Handle is whatever stands for a tensor. */
export interface Operations<Handle> {
${members.join("")}}

/** The names of the arguments, in the contracts' order. */
export const operationFields = {
${names.join("")}} as const satisfies { readonly [Name in keyof Operations<never>]: readonly (keyof Operations<never>[Name])[] };
`;
}

/** Writes lib/native/operations.ts from the addon that was built. */
export function generateContracts() {
  const addon = createRequire(import.meta.url)(join(root, "build/Release/caracal.node"));
  writeIfChanged("lib/native/operations.ts", operationsSource(addon.contracts()));
}
