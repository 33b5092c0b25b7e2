import type { ServerResponse } from "node:http";
import type { HttpBindings } from "@hono/node-server";
import { Hono } from "hono";
import { cors } from "hono/cors";
import { routePath } from "hono/route";
import type { Access } from "./access.js";
import { ChatRoute } from "./chat.js";
import { errorResponse, Refusal } from "./errors.js";
import { Page } from "./page.js";
import type { Service } from "./service.js";

/** The routes of a server. */
export function serverApp(
  service: Service,
  access: Access,
  origin: string | undefined,
): Hono<{ Bindings: HttpBindings }> {
  const app = new Hono<{ Bindings: HttpBindings }>();
  const chat = new ChatRoute(service);
  const page = new Page();
  app.use(async (c, next) => {
    refusePipelining(c.env);
    measure(c.env.outgoing, service, () => routePath(c, -1));
    limitPatience(c.env, service.limits.readSeconds);
    await next();
    if (service.requests.draining) c.header("Connection", "close");
  });
  if (origin !== undefined) app.use(cors({ origin, exposeHeaders: ["Caracal-Ignored", "Retry-After"], maxAge: 600 }));
  app.use(async (c, next) => {
    access.checkOrigin(c.env.incoming.headers);
    if (!isPublic(c.req.path)) access.checkKey(c.req.header("authorization"));
    await next();
  });

  app.get("/", async (c) => (await page.file("index.html", c.req.header("if-none-match"))) ?? c.notFound());
  app.get("/page/:file", async (c) => {
    return (await page.file(c.req.param("file"), c.req.header("if-none-match"))) ?? c.notFound();
  });

  app.get("/health", (c) => {
    const { state } = service;
    return c.json({ status: state }, state === "ready" ? 200 : 503);
  });
  app.get("/metrics", async (c) => {
    const { registry } = service.metrics;
    return c.body(await registry.metrics(), 200, { "Content-Type": registry.contentType });
  });
  const model = () => ({ id: service.name, object: "model", created: service.created, owned_by: "caracal" });
  app.get("/v1/models", (c) => c.json({ object: "list", data: [model()] }));
  app.get("/v1/models/:id", (c) => {
    service.named(c.req.param("id"));
    return c.json(model());
  });
  app.post("/v1/chat/completions", (c) => {
    void service.model; // a model that is not there is found before the body is read
    return chat.answer(c.env.incoming, service.requests.begin(c.env.outgoing));
  });

  app.get("/v1/realtime", () => {
    const message = "this route is a WebSocket: connect to it as one";
    return errorResponse({ status: 426, message, code: "upgrade_required" });
  });

  app.notFound((c) => {
    const message = `there is no ${c.req.method} ${c.req.path.slice(0, 64)}`;
    return errorResponse({ status: 404, message, code: "unknown_route" });
  });
  app.onError((error) => errorResponse(service.problemOf(error)));
  return app;
}

/** The page holds no secret: it asks its user for the key. */
const isPublic = (path: string) => path === "/health" || path === "/" || path.startsWith("/page/");

/**
 * Ends a connection whose client sends a request before it has the response to the one before. No client of the API does:
 * and Node.js does not say when the client of a response leaves that waits for another one, so its reply would never end.
 * @throws {Refusal} which nobody reads any more
 */
function refusePipelining({ incoming, outgoing }: HttpBindings): void {
  if (outgoing.socket) return;
  incoming.socket.destroy();
  throw new Refusal({ status: 400, message: "requests must not be pipelined", code: "pipelined" });
}

/** Counts a request when its response ends. */
function measure(outgoing: ServerResponse, { metrics }: Service, route: () => string): void {
  const start = performance.now();
  outgoing.once("close", () => {
    const status = outgoing.writableFinished ? outgoing.statusCode : 499;
    metrics.request(route(), status, (performance.now() - start) / 1000);
  });
}

/** Ends a connection on which nothing moves, if it is the client's turn: to take a response, or to send its request. */
function limitPatience({ incoming, outgoing }: HttpBindings, seconds: number): void {
  outgoing.setTimeout(1000 * seconds, () => {
    const { socket } = outgoing;
    if (socket && (socket.writableLength > 0 || !incoming.complete)) socket.destroy();
  });
}
