import { type IncomingMessage, type Server, STATUS_CODES } from "node:http";
import type { Duplex } from "node:stream";
import { type WebSocket, WebSocketServer } from "ws";
import type { Access } from "../access.js";
import { errorResponse, invalid, Refusal } from "../errors.js";
import type { Service } from "../service.js";
import { ClientEvents } from "./clientEvents.js";
import { Connection } from "./connection.js";

const path = "/v1/realtime";
/** What browsers, which can set no headers, send the key in. */
const keyProtocol = "openai-insecure-api-key.";
const betaProtocol = "openai-beta.realtime-v1";

/** Answers `WS /v1/realtime`: whoever may not ask is refused before the connection becomes a WebSocket. */
export function serveRealtime(server: Server, service: Service, access: Access): void {
  const events = new ClientEvents(service.limits);
  const sockets = new WebSocketServer({
    noServer: true,
    maxPayload: service.limits.messageBytes,
    clientTracking: false,
    handleProtocols: (protocols) => (protocols.has("realtime") ? "realtime" : false),
  });
  sockets.on("wsClientError", (error) => {
    throw invalid(`this is no handshake of a WebSocket: ${error.message}`, null, "invalid_handshake"); // caught below
  });
  server.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    const start = performance.now();
    socket.on("error", () => {}); // it may be reset before it is a WebSocket
    const count = (status: number) => service.metrics.request(path, status, (performance.now() - start) / 1000);
    try {
      const model = admitted(request, service, access);
      const running = service.sessions.begin(socket);
      sockets.handleUpgrade(request, socket, head, (webSocket: WebSocket) => {
        socket.once("close", () => count(101));
        webSocket.on("error", () => {}); // a wrong frame or a reset: it closes by itself
        try {
          new Connection(webSocket, { service, model, events, beta: wantsBeta(request), running });
        } catch (error) {
          webSocket.close(1011, service.problemOf(error).message.slice(0, 100));
        }
      });
    } catch (error) {
      const response = errorResponse(service.problemOf(error));
      count(response.status);
      void refuse(socket, response);
    }
  });
}

/** The model that a client may talk to. @throws {Refusal} */
function admitted(request: IncomingMessage, service: Service, access: Access) {
  access.checkOrigin(request.headers);
  const key = protocolsOf(request)
    .find((protocol) => protocol.startsWith(keyProtocol))
    ?.slice(keyProtocol.length);
  access.checkKey(request.headers.authorization ?? (key && `Bearer ${key}`));
  const [base, target] = ["http://localhost", request.url ?? "/"];
  const url = new URL(URL.canParse(target, base) ? target : "/", base);
  if (url.pathname !== path) {
    const message = `only ${path} becomes a WebSocket: send other requests without Upgrade`;
    throw new Refusal({ status: 404, message, code: "unknown_route" });
  }
  for (const field of ["call_id", "intent"])
    if (url.searchParams.has(field)) throw invalid("it is not supported: pass model", field, "unsupported_value");
  const name = url.searchParams.get("model");
  const model = name === null ? service.model : service.named(name);
  void model.audioEncoder; // without which nothing could be heard
  return model;
}

const protocolsOf = ({ headers }: IncomingMessage): string[] =>
  (headers["sec-websocket-protocol"] ?? "").split(",").map((protocol) => protocol.trim());

const wantsBeta = (request: IncomingMessage): boolean =>
  request.headers["openai-beta"] === "realtime=v1" || protocolsOf(request).includes(betaProtocol);

/** Answers a request that becomes no WebSocket, and ends its connection. */
async function refuse(socket: Duplex, response: Response): Promise<void> {
  const body = await response.text();
  const headers = [...response.headers].map(([name, value]) => `${name}: ${value}\r\n`).join("");
  const length = `content-length: ${Buffer.byteLength(body)}\r\n`;
  socket.once("finish", () => socket.destroy());
  socket.end(
    `HTTP/1.1 ${response.status} ${STATUS_CODES[response.status]}\r\n${headers}${length}connection: close\r\n\r\n${body}`,
  );
}
