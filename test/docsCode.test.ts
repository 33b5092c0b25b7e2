// The TypeScript in the pages compiles against the public API.
//
// A block sees the public names without importing them, and what its page gives: `<!-- given: … -->` before a block declares
// what the text around it introduces, for this block and those after it.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { describe, expect, test } from "vitest";

const root = fileURLToPath(new URL("..", import.meta.url));
const read = (path: string) => readFileSync(join(root, path), "utf8");

interface Block {
  /** Where the block is, such as "docs/errors.md:8". */
  readonly name: string;
  readonly text: string;
}

/** The names that lib/index.ts exports. */
const publicNames = Array.from(read("lib/index.ts").matchAll(/export (?:type )?\{([^}]*)\}|export \* as (\w+)/g))
  .flatMap(([, list, namespace]) => namespace ?? list!.split(","))
  .map((name) => name.trim())
  .filter((name) => name !== "")
  .map((name) => name.replace(/^type /, ""));

/** The blocks of a page that are marked as TypeScript, each as a module. */
function blocksOf(path: string): Block[] {
  const text = read(path);
  let given = "";
  const found = text.matchAll(/^<!-- given:(.*?)-->|^```ts\n(.*?)^```/gms);
  return Array.from(found).flatMap(({ 1: more, 2: code, index }) => {
    if (code === undefined) {
      given += `${more}\n`;
      return [];
    }
    const imports = code.match(/^import [^;]*;/gm)?.join("\n") ?? "";
    const names = publicNames.filter((name) => !new Set(imports.match(/\w+/g)).has(name));
    // A scope of its own, in which the block may declare what is given, too.
    const scope = code
      .replace(/^import [^;]*;/gm, "")
      .replace(/^export default/gm, "void")
      .replace(/^export /gm, "");
    const module = `import { ${names.join(", ")} } from "caracal";\n${imports}\n${given}\n{\n${scope}}\n`;
    return [{ name: `${path}:${text.slice(0, index).split("\n").length}`, text: module }];
  });
}

/** What the compiler says of each block, in the order of the blocks. */
function faultsOf(blocks: readonly Block[]): string[][] {
  const { config } = ts.readConfigFile(join(root, "tsconfig.test.json"), ts.sys.readFile);
  const paths = { caracal: [join(root, "lib/index.ts")], "caracal/server": [join(root, "lib/server/index.ts")] };
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, root, { paths, verbatimModuleSyntax: false });
  const modules = new Map(blocks.map(({ text }, i) => [join(root, "docs", `block${i}.ts`), text]));
  const host = ts.createCompilerHost(options);
  const { fileExists, readFile } = host;
  host.fileExists = (path) => modules.has(path) || fileExists(path);
  host.readFile = (path) => modules.get(path) ?? readFile(path);
  const program = ts.createProgram([...modules.keys()], options, host);
  return [...modules.keys()].map((path) =>
    ts
      .getPreEmitDiagnostics(program, program.getSourceFile(path))
      .map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, "\n")),
  );
}

const pages = [
  "README.md",
  ...readdirSync(join(root, "docs"))
    .filter((name) => name.endsWith(".md"))
    .map((name) => `docs/${name}`),
];
const blocks = pages.flatMap(blocksOf);
const faults = faultsOf([
  ...blocks,
  { name: "a wrong block", text: 'import { Device } from "caracal";\nDevice.opne();' },
]);

describe("the code in the pages compiles", () => {
  test.each(blocks.map(({ name }, i) => [name, faults[i]]))("%s", (_, found) => {
    expect(found).toEqual([]);
  });

  test("and a misspelt name would not", () => {
    expect(faults.at(-1)).toEqual([expect.stringContaining("'opne' does not exist")]);
  });
});

test.each(pages)("%s marks its code with a language whose blocks are checked, or that is no program", (path) => {
  const languages = Array.from(read(path).matchAll(/^ *```(\S+)$/gm), ([, language]) => language);
  expect(
    languages.filter((language) => !["ts", "sh", "cpp", "dockerfile", "json", "text"].includes(language!)),
  ).toEqual([]);
});
