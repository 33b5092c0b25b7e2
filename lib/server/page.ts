import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { extname, join } from "node:path";
import { packageFile } from "../native/packageFile.js";

const types: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".svg": "image/svg+xml",
};

/** The page loads what this server has and nothing else, runs no code but its own, and is shown in no other page. */
const policy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  "img-src 'self' blob: data:",
  "media-src blob:",
  "worker-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join("; ");
const headers = {
  "Content-Security-Policy": policy,
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Resource-Policy": "same-origin",
  "Permissions-Policy": "camera=(self), microphone=(self)",
  "Referrer-Policy": "no-referrer",
  "X-Content-Type-Options": "nosniff",
  "Cache-Control": "no-cache",
};

interface PageFile {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly type: string;
  readonly etag: string;
}

/** The files of the web page by their names, read when they are asked for first. */
export class Page {
  #files: Promise<ReadonlyMap<string, PageFile>> | undefined;

  /**
   * Answers a request for a file. Its name is looked up, and never becomes a path.
   * @param known the entity tags that the browser has
   * @returns undefined if there is no such file, or no page at all, as in a bundle
   */
  async file(name: string, known: string | undefined): Promise<Response | undefined> {
    this.#files ??= filesOf().catch(() => new Map());
    const file = (await this.#files).get(name);
    if (!file) return undefined;
    const { bytes, type, etag } = file;
    const own = { ...headers, ETag: etag };
    if (known?.includes(etag)) return new Response(null, { status: 304, headers: own });
    return new Response(bytes, { headers: { ...own, "Content-Type": type } });
  }
}

async function filesOf(): Promise<ReadonlyMap<string, PageFile>> {
  const directory = packageFile("dist/page");
  if (directory === undefined) return new Map();
  const names = (await readdir(directory)).filter((name) => extname(name) in types);
  const files = names.map(async (name) => {
    const bytes = new Uint8Array(await readFile(join(directory, name)));
    const etag = `"${createHash("sha256").update(bytes).digest("base64url").slice(0, 22)}"`;
    return [name, { bytes, type: types[extname(name)]!, etag }] as const;
  });
  return new Map(await Promise.all(files));
}
