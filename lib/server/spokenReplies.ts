import { randomUUID } from "node:crypto";
import { shown } from "../errors.js";
import type { Message } from "../model/prompt/messages.js";
import { invalid } from "./errors.js";

type Content = Message["content"];

/** The spoken replies that later turns of their conversations can name, for a time. */
export class SpokenReplies {
  readonly #most: number;
  readonly #seconds: number;
  /** Oldest first. */
  readonly #replies = new Map<string, { readonly content: Content; readonly expires: number }>();

  constructor(most: number, seconds: number) {
    this.#most = most;
    this.#seconds = seconds;
  }

  /** A name that nobody can guess: whoever knows it can go on with the conversation. */
  newId(): string {
    return `audio_${randomUUID().replaceAll("-", "")}`;
  }

  /** Keeps a reply, as the content of an assistant's message. Returns when it will be forgotten, in Unix seconds. */
  keep(id: string, content: Content): number {
    this.#forget();
    const expires = Math.floor(Date.now() / 1000 + this.#seconds);
    this.#replies.set(id, { content, expires });
    for (const oldest of this.#replies.keys()) {
      if (this.#replies.size <= this.#most) break;
      this.#replies.delete(oldest);
    }
    return expires;
  }

  /** @throws {Refusal} 400 for a reply that is not known, or no longer */
  content(id: string, param: string): Content {
    this.#forget();
    const reply = this.#replies.get(id);
    if (reply) return reply.content;
    const message = `there is no spoken reply ${shown(id)} (any more): send its transcript as the content`;
    throw invalid(message, param, "audio_not_found");
  }

  #forget(): void {
    for (const [id, { expires }] of this.#replies) if (expires <= Date.now() / 1000) this.#replies.delete(id);
  }
}
