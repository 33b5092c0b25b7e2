// The pages name files that exist, README.md links to packed ones only, and docs/debugging.md lists every environment
// variable and no others.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";

const root = fileURLToPath(new URL("..", import.meta.url));
const read = (path: string) => readFileSync(join(root, path), "utf8");

/** The text of every source file in a folder, or of a single file. */
function texts(path: string): string[] {
  if (!existsSync(join(root, path))) return [];
  if (/\.\w+$/.test(path)) return [read(path)];
  return readdirSync(join(root, path), { recursive: true, encoding: "utf8" })
    .filter((name) => /\.(ts|mjs|js|cc|h|cu|cuh|gypi)$/.test(name) && name !== "docs.test.ts")
    .map((name) => read(join(path, name)));
}

const matches = (text: string, pattern: RegExp) => Array.from(text.matchAll(pattern), ([, name]) => name!);
const names = (text: string) => matches(text, /\b(CARACAL_[A-Z0-9_]*[A-Z0-9])\b(?!\*)/g);

const sources = ["lib", "native", "scripts", "test", "bench", "vitest.config.ts"].flatMap(texts);
const buildFiles = ["CMakeLists.txt", "binding.gyp", "native/flags.gypi"].flatMap(texts);

/** Names of the C preprocessor: macros, and definitions that the build files pass to the compiler. */
const macros = new Set([
  ...sources.flatMap((text) => matches(text, /#\s*(?:define|undef|ifdef|ifndef|if defined\()\s*(CARACAL_\w+)/g)),
  ...buildFiles.flatMap((text) => matches(text, /\b(CARACAL_(?:ISA|BUILD_TOOL)\w*)/g)),
]);

/** The virtual GPU reads its variables by the name that follows the common prefix. */
const virtualGpu = sources
  .filter((text) => text.includes('"CARACAL_VGPU_"'))
  .flatMap((text) => matches(text, /\bread\(\s*"([A-Z_]+)"/g))
  .map((name) => `CARACAL_VGPU_${name}`);

const used = new Set([...sources.flatMap(names), ...virtualGpu].filter((name) => !macros.has(name)));
const options = new Set(matches(read("CMakeLists.txt"), /\boption\((CARACAL_\w+)/g));
const page = read("docs/debugging.md");
const rows = new Set(matches(page, /^\| `(CARACAL_\w+)` \|/gm));

describe("docs/debugging.md", () => {
  test("has a table row for every environment variable that the code reads", () => {
    expect(virtualGpu.length).toBeGreaterThan(10);
    for (const known of ["CARACAL_BINDING", "CARACAL_CPU", "CARACAL_CUDA_LIBRARY", "CARACAL_VGPU_REPORT"])
      expect(used).toContain(known);
    expect([...used].filter((name) => !rows.has(name))).toEqual([]);
  });

  test("mentions every option of the CMake build", () => {
    expect(options.size).toBeGreaterThan(0);
    expect([...options].filter((name) => !names(page).includes(name))).toEqual([]);
  });

  test("mentions nothing that does not exist", () => {
    expect(names(page).filter((name) => !used.has(name) && !options.has(name))).toEqual([]);
  });
});

const docs = readdirSync(join(root, "docs")).filter((name) => name.endsWith(".md"));
const pages = [
  "README.md",
  "CONTRIBUTING.md",
  "SECURITY.md",
  "CHANGELOG.md",
  "native/vgpu/README.md",
  ...docs.map((name) => `docs/${name}`),
];

/** The links within the repository. */
const linksOf = (text: string) => matches(text, /\]\(([^)\s]+)\)/g).filter((link) => !/^https?:/.test(link));

test("README.md, which npm shows, links to nothing that is not in the package", () => {
  const { files } = JSON.parse(read("package.json")) as { files: string[] };
  const packed = (link: string) => files.some((path) => link === path || link.startsWith(`${path}/`));
  expect(linksOf(read("README.md")).filter((link) => !link.startsWith("#") && !packed(link))).toEqual([]);
});

describe.each(pages)("%s", (path) => {
  const text = read(path);
  const exists = (...parts: string[]) => existsSync(join(root, ...parts));

  test("links to files and headings that exist", () => {
    const links = linksOf(text);
    const broken = links.filter((link) => {
      const [file, anchor] = link.split("#") as [string, string?];
      const target = file === "" ? path : join(dirname(path), file);
      if (!exists(target)) return true;
      const headings = anchor === undefined ? [] : matches(read(target), /^#+ (.*)$/gm);
      const slug = (heading: string) =>
        heading
          .toLowerCase()
          .replace(/[^\w\- ]/g, "")
          .replaceAll(" ", "-");
      return anchor !== undefined && !headings.map(slug).includes(anchor);
    });
    expect(broken).toEqual([]);
  });

  test("mentions files that exist", () => {
    // `native/core/op.h`, `test/ops`; paths below native/ may leave it out: `core/op.h`
    const tops = "lib|native|test|bench|scripts|docs|examples|samples|core|engine|node|ops|cpu|cuda|vgpu";
    const paths = matches(text, new RegExp(`\`((?:${tops})/[\\w./-]*)\``, "g"));
    expect(paths.filter((name) => !exists(name) && !exists("native", name) && !exists("native/vgpu", name))).toEqual(
      [],
    );
  });
});
