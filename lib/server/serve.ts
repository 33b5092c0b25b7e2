import { once } from "node:events";
import { createServer, type Server } from "node:http";
import { createServer as createSecureServer } from "node:https";
import { isIP } from "node:net";
import { createAdaptorServer } from "@hono/node-server";
import { CaracalError } from "../errors.js";
import { OmniModel } from "../model/omni.js";
import { aFunction, aString, checkOptions, isObject, type OptionRule, optional, refuseValue } from "../options.js";
import { Access } from "./access.js";
import { serverApp } from "./app.js";
import { type ServerLimits, serverLimitRules, withDefaults } from "./limits.js";
import { OmniServer } from "./omniServer.js";
import { serveRealtime } from "./realtime/upgrade.js";
import { Service } from "./service.js";

/** Options of `serve`. */
export interface ServeOptions {
  /** The IP address to listen on, or `localhost`. Default 127.0.0.1: only programs of this machine can ask. */
  readonly host?: string | undefined;
  /** Default 8000; 0 takes a free one. */
  readonly port?: number | undefined;
  /** The model's name in requests. Default: the name of its directory. */
  readonly modelName?: string | undefined;
  /** What clients must send as `Authorization: Bearer KEY`, except to `/health`. Default: nothing. */
  readonly apiKey?: string | undefined;
  /** The origin of web pages that may use the server, such as `https://chat.example`; `*`: all. Default: none. */
  readonly cors?: string | undefined;
  /** The certificate and its key in PEM, for HTTPS. Default: HTTP. */
  readonly tls?: { readonly cert: string; readonly key: string } | undefined;
  /** Bounds on what clients may ask. */
  readonly limits?: ServerLimits | undefined;
  /** Called with errors that clients get as status 500 without an explanation, and with that of a model's load. What it throws is ignored. */
  readonly onError?: ((error: unknown) => void) | undefined;
}
const isOrigin = (text: string) => URL.canParse(text) && new URL(text).origin === text;
const filled: OptionRule = { accepts: (value) => typeof value === "string" && value !== "", expected: "text" };
const serveOptions = {
  host: optional({
    accepts: (value) => value === "localhost" || (typeof value === "string" && isIP(value) !== 0),
    expected: "an IP address, or localhost",
  }),
  port: optional({
    accepts: (value) => Number.isInteger(value) && (value as number) >= 0 && (value as number) < 65536,
    expected: "a whole number from 0 to 65535",
  }),
  modelName: optional(filled),
  apiKey: optional({
    accepts: (value) => typeof value === "string" && /^[\x21-\x7e]+$/.test(value),
    expected: "text of visible ASCII characters, without spaces",
  }),
  cors: optional({
    accepts: (value) => value === "*" || (typeof value === "string" && isOrigin(value)),
    expected: "an origin, such as https://chat.example, or *",
  }),
  tls: optional({ accepts: isObject, expected: "{ cert, key }" }),
  limits: true,
  onError: optional(aFunction),
} satisfies Record<keyof ServeOptions, OptionRule | true>;
const tlsFields = { cert: aString, key: aString };

/**
 * Answers requests in the forms of OpenAI's API: `POST /v1/chat/completions`, `WS /v1/realtime`, `GET /v1/models`, and
 * `/health`, `/metrics` and a web page at `/` besides (docs/serving.md). The model stays the caller's, who disposes it after `close`.
 *
 * @param model a model, or the promise of one: the server then listens at once, and says that it is loading
 * @returns the server, when it listens
 * @throws {CaracalError} `INVALID_ARGUMENT` when an option is unknown or has a wrong value, or certificate and key are
 *   none; `IO_ERROR` when the address cannot be listened on
 */
export async function serve(
  model: OmniModel | PromiseLike<OmniModel>,
  options: ServeOptions = {},
): Promise<OmniServer> {
  checkOptions("serve", options, serveOptions);
  const { host = "127.0.0.1", port = 8000, tls, apiKey, cors, modelName, onError = () => {} } = options;
  checkOptions("serve: limits", options.limits, serverLimitRules);
  if (tls) checkOptions("serve: tls", tls, tlsFields);
  const isPromise = isObject(model) && typeof (model as { then?: unknown }).then === "function";
  if (!(model instanceof OmniModel) && !isPromise)
    refuseValue("serve", "model", "an OmniModel, or a promise of one", model);
  const loading = Promise.resolve(model);
  loading.catch(() => {}); // it may fail before the server listens, or although it cannot
  const service = new Service(withDefaults(options.limits), modelName, onError);
  const scheme = tls ? "https" : "http";
  const access = new Access(apiKey, cors, scheme);
  const app = serverApp(service, access, cors);
  const server = makeServer(app.fetch, tls, service.limits.readSeconds);
  serveRealtime(server, service, access);
  server.maxConnections = service.limits.connections;
  try {
    server.listen(port, host);
    await once(server, "listening");
  } catch (cause) {
    service.metrics.stop();
    const message = `cannot listen on ${host}, port ${port}: ${(cause as Error).message}`;
    throw new CaracalError("IO_ERROR", message, { host, port }, { cause });
  }
  void service.load(loading);
  return new OmniServer(server, service, scheme);
}

type Fetch = Parameters<typeof createAdaptorServer>[0]["fetch"];

/** A server that does not listen yet. A connection whose other end has gone without a word is noticed within minutes. */
function makeServer(fetch: Fetch, tls: ServeOptions["tls"], readSeconds: number): Server {
  const patience = 1000 * readSeconds;
  const common = {
    keepAlive: true,
    keepAliveInitialDelay: 30_000,
    headersTimeout: patience,
    requestTimeout: Math.max(300_000, patience), // not below the one above
    connectionsCheckingInterval: Math.min(30_000, patience), // for both: they may be so late
  };
  const adaptor = { fetch, overrideGlobalObjects: false }; // the Response of this process stays what it is
  if (!tls) return createAdaptorServer({ ...adaptor, createServer, serverOptions: common }) as Server;
  try {
    const handshakeTimeout = patience;
    const serverOptions = { ...common, cert: tls.cert, key: tls.key, handshakeTimeout };
    return createAdaptorServer({ ...adaptor, createServer: createSecureServer, serverOptions }) as Server;
  } catch (cause) {
    const message = `serve: tls must be a certificate and its key in PEM: ${(cause as Error).message}`;
    throw new CaracalError("INVALID_ARGUMENT", message, {}, { cause });
  }
}
