// The documents as a site: the pages, and what typedoc writes of the public API.
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { Application, Comment, Converter } from "typedoc";
import { fail, root } from "./steps.mjs";

const inDocs = (...names) => names.map((name) => `docs/${name}.md`);

/** The pages by group, in the order of the site's navigation. */
export const pages = {
  Guides: inDocs(
    ...["getting-started", "tensors", "serving", "service", "loading", "speech", "realtime", "images-and-video"],
    ...["quantised-weights", "slices", "worker-threads", "installing", "bundlers", "containers"],
  ),
  Reference: inDocs("errors", "debugging", "reliability", "benchmarks"),
  Internals: [
    ...inDocs("architecture", "one-operation", "add-an-operation"),
    ...["CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "native/vgpu/README.md"],
  ],
};

/**
 * Writes the site, and prints what is wrong: links to pages, headings, files and names that do not exist, and public
 * names without documentation. (Links to headings of their own page are left to test/docs.test.ts.)
 * @returns whether nothing is wrong
 */
export async function buildSite() {
  const groups = Object.fromEntries(
    Object.entries(pages).flatMap(([group, paths]) => paths.map((path) => [path, group])),
  );
  const found = readdirSync(join(root, "docs")).filter((name) => name.endsWith(".md"));
  const forgotten = found.map((name) => `docs/${name}`).filter((path) => !groups[path]);
  if (forgotten.length > 0) fail(`scripts/lib/site.mjs gives no group to ${forgotten.join(", ")}`);
  const app = await Application.bootstrap({
    options: join(root, "typedoc.json"),
    projectDocuments: Object.keys(groups).map((path) => join(root, path)),
    groupOrder: [...Object.keys(pages), "*"],
    sort: ["documents-first", "source-order"],
  });
  // Typedoc would name pages after their files, and put all of them into one group.
  app.converter.on(Converter.EVENT_CREATE_DOCUMENT, (_, document) => {
    document.frontmatter.group = groups[`${document.name}.md`];
    document.name = /^# (.*)$/m.exec(document.content.map(({ text }) => text).join(""))[1];
  });
  // What the language calls at the end of a block means the same for every class.
  app.converter.on(Converter.EVENT_CREATE_SIGNATURE, (_, signature) => {
    if (!/^\[(?:asyncD|d)ispose\]$/.test(signature.name)) return;
    const text = "Frees it when the block of a `using` or `await using` declaration ends.";
    signature.comment ??= new Comment([{ kind: "text", text }]);
  });
  const project = await app.convert();
  if (project === undefined) return false;
  app.validate(project);
  rmSync(app.options.getValue("out"), { recursive: true, force: true });
  await app.generateOutputs(project);
  return !app.logger.hasErrors() && !app.logger.hasWarnings();
}
