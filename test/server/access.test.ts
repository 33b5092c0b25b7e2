import { once } from "node:events";
import { createServer, request } from "node:https";
import { connect } from "node:net";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { OmniModel } from "../../lib/model/omni.js";
import { Access } from "../../lib/server/access.js";
import { serve } from "../../lib/server/serve.js";
import { scratch } from "../checkpoint/files.js";
import { code } from "../support/errors.js";
import { canCertify, certificate } from "./certificate.js";
import { clientOf, hello, post, served, tinyModel } from "./served.js";

const model = await tinyModel();
const folder = scratch();

describe("a server with a key", () => {
  test("answers whoever has it", async () => {
    const { server } = await served(model, { apiKey: "sk-right" });
    const { choices } = await clientOf(server, "sk-right").chat.completions.create({ ...hello });
    expect(choices).toHaveLength(1);
    for (const key of ["sk-wrong", "sk-righ", "sk-right2", "SK-RIGHT"]) {
      const answer = clientOf(server, key).chat.completions.create({ ...hello });
      await expect(answer).rejects.toMatchObject({
        status: 401,
        code: "invalid_api_key",
        type: "authentication_error",
      });
    }
    for (const authorization of ["", "sk-right", "Basic sk-right", "Bearer"])
      expect((await post(server, hello, { authorization })).status).toBe(401);
    const none = await post(server, hello);
    expect([none.status, none.headers.get("www-authenticate")]).toEqual([401, "Bearer"]);
  });

  test("keeps all but its health and its page for itself", async () => {
    const { server } = await served(model, { apiKey: "sk-right" });
    const statuses = await Promise.all(
      ["/health", "/", "/page/main.js", "/metrics", "/v1/models", "/v1/models/model", "/pages", "/other"].map(
        async (path) => {
          return (await fetch(server.url + path)).status;
        },
      ),
    );
    expect(statuses).toEqual([200, 200, 200, 401, 401, 401, 401, 401]);
  });
});

describe("web pages", () => {
  const headers = (response: Response) => response.headers.get("access-control-allow-origin");

  test("are refused, unless their origin is allowed", async () => {
    const { server } = await served(model);
    for (const origin of ["https://evil.example", "null", "http://127.0.0.1:1", server.url.replace("http", "https")]) {
      const refused = await post(server, hello, { origin });
      expect([refused.status, headers(refused)]).toEqual([403, null]);
    }
    const { server: open } = await served(model, { cors: "https://chat.example" });
    const allowed = await post(open, hello, { origin: "https://chat.example" });
    expect([allowed.status, headers(allowed)]).toEqual([200, "https://chat.example"]);
    expect((await post(open, hello, { origin: "https://evil.example" })).status).toBe(403);
    expect((await post(open, hello)).status).toBe(200);
  });

  test("of the server itself may ask, where no other page can have its origin", () => {
    const page = (scheme: "http" | "https", origin: string, host?: string, cors?: string) => {
      try {
        new Access(undefined, cors, scheme).checkOrigin({ origin, host });
        return true;
      } catch (error) {
        expect(error).toMatchObject({ problem: { status: 403, code: "origin_not_allowed" } });
        return false;
      }
    };
    for (const host of ["127.0.0.1:8000", "localhost:8000", "[::1]:8000", "192.0.2.7", "[2001:db8::1]", "localhost"])
      for (const scheme of ["http", "https"] as const) {
        expect(page(scheme, `${scheme}://${host}`, host), host).toBe(true);
        const other = scheme === "http" ? "https" : "http";
        expect(page(scheme, `${other}://${host}`, host), "another scheme").toBe(false);
        expect(page(scheme, `${scheme}://${host}`, undefined), "no Host").toBe(false);
        expect(page(scheme, `${scheme}://${host}`, "127.0.0.1:8001"), "another port").toBe(false);
      }
    // Names may be made to mean this machine, and these are no plain addresses.
    for (const host of [
      "evil.example:8000",
      "localhost.evil.example",
      "127.0.0.1.evil.example",
      "localhost.",
      "127.1",
      "",
    ])
      expect(page("http", `http://${host}`, host), host).toBe(false);
    for (const host of ["user@127.0.0.1", "127.0.0.1/", "127.0.0.1#", "127.0.0.1:99999", "a b", "[::1", "LOCALHOST"])
      expect(page("http", "http://127.0.0.1", host), host).toBe(false);
    expect(page("http", "null", "127.0.0.1:8000")).toBe(false);
    expect(page("http", "", "127.0.0.1:8000")).toBe(false);
    expect(page("http", "http://model.example", "model.example", "http://model.example")).toBe(true);
  });

  test("of the server itself may post", async () => {
    const { server } = await served(model, { apiKey: "sk-right" });
    const own = { origin: server.url };
    expect((await post(server, hello, { ...own, authorization: "Bearer sk-right" })).status).toBe(200);
    expect((await post(server, hello, own)).status).toBe(401);
  });

  test("may ask what is allowed without the key", async () => {
    const { server } = await served(model, { cors: "https://chat.example", apiKey: "sk-right" });
    const preflight = await fetch(`${server.url}/v1/chat/completions`, {
      method: "OPTIONS",
      headers: { origin: "https://chat.example", "access-control-request-method": "POST" },
    });
    expect([preflight.status, headers(preflight)]).toEqual([204, "https://chat.example"]);
    const wrong = await post(server, hello, { origin: "https://chat.example" });
    expect([wrong.status, headers(wrong)]).toEqual([401, "https://chat.example"]);
  });
});

test.skipIf(!canCertify)("a certificate makes it HTTPS", async () => {
  const tls = certificate(folder);
  const { server } = await served(model, { tls, limits: { drainSeconds: 0.1 } });
  expect(server.url).toMatch(/^https:/);
  const status = await new Promise((resolve, reject) => {
    const asked = request(`${server.url}/health`, { ca: tls.cert }, (response) => resolve(response.statusCode));
    asked.on("error", reject).end();
  });
  expect(status).toBe(200);
  const silent = connect(Number(new URL(server.url).port), "127.0.0.1").resume(); // it never agrees on TLS
  silent.on("error", () => {});
  await once(silent, "connect");
  const closed = once(silent, "close");
  await server.close();
  await closed;
  await expect(serve(model, { port: 0, tls: { ...tls, key: "no key" } })).rejects.toThrow(code("INVALID_ARGUMENT"));
});

describe("serve", () => {
  test("listens while the model is loaded, and says so", async () => {
    let loaded = (_: OmniModel) => {};
    const loading = new Promise<OmniModel>((resolve) => {
      loaded = resolve;
    });
    const { server } = await served(loading);
    const status = async () => (await fetch(`${server.url}/health`)).json();
    expect(await status()).toEqual({ status: "loading" });
    const early = await post(server, hello);
    expect([early.status, await early.json()]).toMatchObject([503, { error: { code: "model_loading" } }]);
    expect((await fetch(`${server.url}/metrics`)).status).toBe(200);
    loaded(model);
    await vi.waitFor(async () => expect(await status()).toEqual({ status: "ready" }));
    expect((await post(server, hello)).status).toBe(200);
  });

  test("says that a model could not be loaded", async () => {
    const onError = vi.fn();
    const failure = new Error("no such model");
    const { server } = await served(Promise.reject(failure), { onError });
    await vi.waitFor(() => expect(server.state).toBe("failed"));
    expect(onError.mock.calls).toEqual([[failure]]);
    expect(await (await post(server, hello)).json()).toMatchObject({ error: { code: "model_failed" } });
  });

  test("says that its model was disposed", async () => {
    const own = await OmniModel.load(model.checkpoint.directory, { device: model.device, kvCacheTokens: 64 });
    const { server } = await served(own);
    await vi.waitFor(() => expect(server.state).toBe("ready"));
    own.dispose();
    expect(await (await fetch(`${server.url}/health`)).json()).toEqual({ status: "failed" });
    for (const answer of [post(server, hello), fetch(`${server.url}/v1/models`)])
      expect(await (await answer).json()).toMatchObject({ error: { code: "model_failed" } });
    expect((await fetch(`${server.url}/metrics`)).status).toBe(200);
  });

  test("survives a load that fails before it listens, and an owner who fails to hear of it", async () => {
    const onError = () => {
      throw new Error("deaf");
    };
    const { server } = await served(Promise.reject(new Error("no model")), { host: "localhost", onError });
    await vi.waitFor(() => expect(server.state).toBe("failed"));
    const taken = Number(new URL(server.url).port);
    await expect(serve(Promise.reject(new Error("no model")), { port: taken })).rejects.toThrow(code("IO_ERROR"));
  });

  test("refuses wrong options, and an address that it cannot have", async () => {
    for (const options of [
      { prot: 80 },
      { port: 65536 },
      { apiKey: "two words" },
      { apiKey: "" },
      { tls: { cert: "a" } },
      { limits: { choices: 0 } },
      { limits: { choises: 1 } },
    ])
      await expect(serve(model, options as never), JSON.stringify(options)).rejects.toThrow(code("INVALID_ARGUMENT"));
    await expect(serve({} as never)).rejects.toThrow(code("INVALID_ARGUMENT"));
    const other = createServer().listen(0, "127.0.0.1");
    onTestFinished(() => void other.close());
    await vi.waitFor(() => expect(other.listening).toBe(true));
    const { port } = other.address() as { port: number };
    await expect(serve(model, { port })).rejects.toThrow(code("IO_ERROR"));
    await expect(serve(model, { host: "192.0.2.1", port: 0 })).rejects.toThrow(code("IO_ERROR"));
  });

  test("listens on this machine alone, and leaves the process as it is", async () => {
    const before = [globalThis.Request, globalThis.Response];
    const { server } = await served(model);
    expect(server.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
    expect([globalThis.Request, globalThis.Response]).toEqual(before);
    const { server: six } = await served(model, { host: "::1" });
    expect(six.url).toMatch(/^http:\/\/\[::1\]:\d+$/);
    expect((await fetch(`${six.url}/health`)).status).toBe(200);
  });
});
