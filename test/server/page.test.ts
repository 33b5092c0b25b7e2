// The files of the page, as the server sends them.
import { request } from "node:http";
import { expect, test } from "vitest";
import { served, tinyModel } from "./served.js";

const model = await tinyModel();

test("the page and its files come with headers that keep others out", async () => {
  const { server } = await served(model);
  const page = await fetch(`${server.url}/`);
  expect([page.status, page.headers.get("content-type")]).toEqual([200, "text/html; charset=utf-8"]);
  const files = Array.from((await page.text()).matchAll(/(?:href|src)="([^"]+)"/g), ([, path]) => path!);
  expect(new Set(files)).toEqual(new Set(["page/icon.svg", "page/style.css", "page/main.js"]));
  const types: Record<string, string> = { js: "text/javascript", css: "text/css", svg: "image/svg+xml" };
  for (const path of [...files, "page/microphoneWorklet.js", "page/playerWorklet.js"]) {
    const { status, headers } = await fetch(`${server.url}/${path}`);
    expect([path, status]).toEqual([path, 200]);
    expect(headers.get("content-type")).toContain(types[path.split(".")[1]!]);
    expect(Object.fromEntries(headers)).toMatchObject({
      "content-security-policy": expect.stringMatching(
        /^default-src 'none'; script-src 'self'; .*; frame-ancestors 'none'$/,
      ),
      "cross-origin-opener-policy": "same-origin",
      "permissions-policy": "camera=(self), microphone=(self)",
      "referrer-policy": "no-referrer",
      "x-content-type-options": "nosniff",
    });
    expect(headers.get("content-security-policy")).not.toMatch(/unsafe|\*|https?:/);
  }
});

test("a file that the browser has is not sent again", async () => {
  const { server } = await served(model);
  const etag = (await fetch(`${server.url}/`)).headers.get("etag")!;
  const status = async (known: string) =>
    (await fetch(`${server.url}/`, { headers: { "if-none-match": known } })).status;
  expect([await status(etag), await status(`"other", W/${etag}`), await status('"other"')]).toEqual([304, 304, 200]);
});

test("no other file is sent, by whatever name", async () => {
  const { server } = await served(model);
  const status = (path: string) =>
    new Promise((resolve, reject) => {
      const asked = request(server.url, { path }, (response) => {
        response.resume();
        resolve(response.statusCode);
      });
      asked.on("error", reject).end(); // unlike fetch, it leaves paths as they are
    });
  for (const path of [
    ...["/page/", "/page", "/page/main.ts", "/page/tsconfig.json", "/page/constructor", "/page/MAIN.JS"],
    ...["/page/../lib/index.js", "/page/..%2flib%2findex.js", "/page/%2e%2e/package.json", "/page/./main.js/x"],
    ...["/page/%00", "/page//main.js", "/index.html", "/page/%2Fetc%2Fpasswd"],
  ])
    expect([path, await status(path)]).toEqual([path, 404]);
  expect((await fetch(`${server.url}/`, { method: "POST" })).status).toBe(404);
});
