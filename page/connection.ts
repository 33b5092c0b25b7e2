/** An event of the server, of which those fields are read that its type has. */
export interface ServerEvent {
  readonly type: string;
  readonly item_id: string;
  readonly delta: string;
  readonly audio_start_ms: number;
  readonly audio_end_ms: number;
  readonly session: { readonly output_modalities: readonly string[] };
  readonly item: {
    readonly id: string;
    readonly role: string;
    readonly content: readonly { readonly text?: string; readonly transcript?: string | null }[];
  };
  readonly response: {
    readonly id: string;
    readonly status: string;
    readonly status_details: { readonly reason?: string; readonly error?: { readonly message: string } } | null;
  };
  readonly error: { readonly code: string; readonly message: string };
}

export interface ConnectionListener {
  event(event: ServerEvent): void;
  /** It has ended. @param reason as the server says it, or "" */
  closed(reason: string): void;
}

/** A connection to the server's real-time protocol. */
export class Connection {
  readonly #socket: WebSocket;

  private constructor(socket: WebSocket, listener: ConnectionListener) {
    this.#socket = socket;
    socket.addEventListener("message", ({ data }) => listener.event(JSON.parse(data) as ServerEvent));
    socket.addEventListener("close", ({ reason }) => listener.closed(reason));
  }

  /** @returns undefined if the server refuses: browsers do not say why */
  static open(key: string | undefined, listener: ConnectionListener): Promise<Connection | undefined> {
    const url = new URL("/v1/realtime", location.href);
    url.protocol = url.protocol.replace("http", "ws");
    const protocols = ["realtime", ...(key === undefined ? [] : [`openai-insecure-api-key.${key}`])];
    const socket = new WebSocket(url, protocols);
    return new Promise((resolve) => {
      socket.addEventListener("open", () => resolve(new Connection(socket, listener)), { once: true });
      socket.addEventListener("error", () => resolve(undefined), { once: true });
    });
  }

  send(event: { readonly type: string; readonly [field: string]: unknown }): void {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(event));
  }

  /** Bytes that wait to be sent. */
  get waiting(): number {
    return this.#socket.bufferedAmount;
  }
}
