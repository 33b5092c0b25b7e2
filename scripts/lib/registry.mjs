// A registry of npm for the scope @caracal on this machine, which tests install from: npm and pnpm then choose the packages
// of the platform as they do for users.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { basename } from "node:path";
import { command } from "./steps.mjs";

/** What a registry says of packages: a document for each name, the tarballs by their URLs' last part. */
function documentsOf(files, origin) {
  const documents = {};
  for (const file of files) {
    const manifest = JSON.parse(command("tar", ["-xzOf", file, "package/package.json"]));
    const integrity = `sha512-${createHash("sha512").update(readFileSync(file)).digest("base64")}`;
    documents[manifest.name] ??= { name: manifest.name, versions: {}, "dist-tags": { latest: manifest.version } };
    const dist = { tarball: `${origin}/${basename(file)}`, integrity };
    documents[manifest.name].versions[manifest.version] = { ...manifest, dist };
  }
  return documents;
}

/**
 * Serves packages on the loopback interface.
 * @param files the tarballs; the first of a package is its latest version
 * @returns the origin of the URLs, and the server
 */
export async function serveRegistry(files) {
  const tarballs = new Map(files.map((file) => [basename(file), file]));
  const server = createServer((request, response) => {
    const path = decodeURIComponent(request.url).slice(1);
    if (tarballs.has(path)) return response.end(readFileSync(tarballs.get(path)));
    if (!Object.hasOwn(documents, path)) return response.writeHead(404).end("{}");
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify(documents[path]));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const origin = `http://127.0.0.1:${server.address().port}`;
  const documents = documentsOf(files, origin);
  return { origin, server };
}
