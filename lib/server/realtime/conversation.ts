import { setImmediate } from "node:timers/promises";
import { CaracalError } from "../../errors.js";
import type { LiveEvent } from "../../live/events.js";
import type { LiveSession } from "../../live/session.js";
import { loadImage } from "../../media/image.js";
import type { OmniModel } from "../../model/omni.js";
import { ofBase64, ofDataUri } from "../base64.js";
import { invalid, type Problem } from "../errors.js";
import type { Service } from "../service.js";
import type { ClientEvent, ClientEventOf, ResponseRequest } from "./clientEvents.js";
import { InputBuffer } from "./inputBuffer.js";
import { type Item, Items, itemObject, newId } from "./items.js";
import { imagesIn, messageOf, partsOf, type ReadItem } from "./messages.js";
import { messagesOf, OutOfBand } from "./outOfBand.js";
import type { ResponseContext } from "./response.js";
import { alreadyActive, Responses } from "./responses.js";
import type { ServerEvent } from "./serverEvents.js";
import {
  defaultConfig,
  liveOptions,
  replyConfig,
  replyOptions,
  type SessionConfig,
  sessionObject,
  turnOptions,
  updated,
} from "./sessionConfig.js";

/** What a conversation needs of its connection. */
export interface ConversationHost {
  readonly service: Service;
  readonly model: OmniModel;
  /** When the session ends, in Unix seconds. */
  readonly expires: number;
  readonly send: (event: ServerEvent) => void;
  /** Resolves when the client has taken enough of what was sent. */
  readonly room: () => Promise<void>;
  /** Called with what goes wrong after the event that asked for it was handled. */
  readonly fail: (error: unknown, eventId: string | null) => void;
}

/** A conversation of the real-time protocol: events of a client change a live session, whose events it tells. */
export class Conversation {
  readonly live: LiveSession;
  readonly #host: ConversationHost;
  readonly #id = newId("conv");
  readonly #sessionId = newId("sess");
  readonly #canSpeak: boolean;
  readonly #items: Items;
  readonly #responses: Responses;
  readonly #outOfBand: OutOfBand;
  readonly #input: InputBuffer;
  #config: SessionConfig;
  #images = 0;
  /** The names of spoken turns that have begun, by those in the session. */
  readonly #turns = new Map<string, string>();
  /** Turns that the client ended. */
  readonly #committed = new Set<string>();
  /** What waits for an event of the session to be told. */
  readonly #untold = new Map<string, () => void>();
  /** When the end of a turn was told that is being answered, until there is something to hear. */
  #spokenUntil: number | undefined;

  /** @throws {CaracalError} for a model without sound */
  constructor(host: ConversationHost) {
    this.#host = host;
    const { model, service, send, room } = host;
    this.#canSpeak = model.canSpeak;
    this.#config = defaultConfig(this.#canSpeak);
    this.live = model.live(liveOptions(this.#config, service.limits.maxTokens));
    this.#items = new Items(service.limits.messages);
    this.#responses = new Responses(this.#items, send, () => this.#context(this.#config, null));
    this.#outOfBand = new OutOfBand(model, service, send, room);
    this.#input = new InputBuffer(this.live, {
      format: this.#config.input,
      rate: model.framing.sampleRate,
      most: service.limits.waitingSeconds,
      onSound: (seconds) => service.metrics.realtime.heard(seconds),
    });
    send({ type: "session.created", session: this.#session() });
  }

  /** Whether a response is in progress. */
  get busy(): boolean {
    return this.#responses.busy || this.#outOfBand.size > 0;
  }

  /** Ends the conversation. @param problem why responses in progress do not end */
  close(problem: Problem): void {
    this.#responses.close(problem);
    this.#outOfBand.close(problem);
    for (const resolve of this.#untold.values()) resolve();
    this.live.dispose();
  }

  /** Does what a client asks. @throws {Refusal}, and the errors of `LiveSession` */
  async handle(event: ClientEvent): Promise<void> {
    switch (event.type) {
      case "session.update":
        return this.#update(event);
      case "input_audio_buffer.append":
        return this.#input.append(await ofBase64(event.audio, "audio", this.live.ended));
      case "input_audio_buffer.commit":
        return this.#commit();
      case "input_audio_buffer.clear":
        await this.#input.settle();
        this.live.clear();
        this.#turns.clear();
        return this.#host.send({ type: "input_audio_buffer.cleared" });
      case "input_video_frame.append":
        return this.#look(event);
      case "conversation.item.create":
        return this.#create(event);
      case "conversation.item.delete":
        return this.#delete(event.item_id);
      case "conversation.item.retrieve": {
        const item = this.#items.get(event.item_id, "item_retrieve_invalid_item_id");
        return this.#host.send({ type: "conversation.item.retrieved", item: itemObject(item) });
      }
      case "conversation.item.truncate":
        return this.#truncate(event);
      case "response.create":
        return this.#respond(event.response ?? {}, event.event_id ?? null);
      case "response.cancel":
        return this.#cancel(event.response_id ?? null);
    }
  }

  /** Tells what happened in the session. */
  on(event: LiveEvent): void {
    const { metrics } = this.#host.service;
    if (event.type === "speechStart") this.#onSpeechStart(event);
    else if (event.type === "speechEnd") this.#onSpeechEnd(event);
    else if (event.type !== "speechPause" && event.type !== "speechResume") {
      this.#responses.on(event);
      if (event.type === "replyEnd") metrics.reply(event.usage);
      if (event.type === "audio") {
        metrics.realtime.spoke(event.samples.length / event.sampleRate);
        if (this.#spokenUntil !== undefined)
          metrics.realtime.firstAudio((performance.now() - this.#spokenUntil) / 1000);
        this.#spokenUntil = undefined;
      }
    }
    const told = `${event.type} ${event.item}`;
    this.#untold.get(told)?.();
    this.#untold.delete(told);
  }

  #onSpeechStart({ item, sample }: LiveEvent & { readonly type: "speechStart" }): void {
    const id = newId("item");
    this.#turns.set(item, id);
    if (!this.#config.turnDetection) return;
    const audio_start_ms = this.#milliseconds(sample);
    this.#host.send({ type: "input_audio_buffer.speech_started", audio_start_ms, item_id: id });
  }

  #onSpeechEnd({ item: live, sample }: LiveEvent & { readonly type: "speechEnd" }): void {
    const { send } = this.#host;
    const id = this.#turns.get(live) ?? newId("item");
    this.#turns.delete(live);
    const item: Item = {
      id,
      live,
      role: "user",
      content: [{ type: "input_audio", transcript: null }],
      status: "completed",
    };
    const previous_item_id = this.#items.add(item);
    if (!this.#committed.delete(live) && this.#config.turnDetection) {
      const audio_end_ms = this.#milliseconds(sample);
      if (this.#config.turnDetection.create_response) this.#spokenUntil = performance.now();
      send({ type: "input_audio_buffer.speech_stopped", audio_end_ms, item_id: id });
    }
    send({ type: "input_audio_buffer.committed", previous_item_id, item_id: id });
    this.#added(item, previous_item_id);
    send({ type: "conversation.item.done", previous_item_id, item: itemObject(item) });
    if (!this.#config.transcription) return;
    const message = "this server writes no transcripts of what users say";
    const error = { type: "invalid_request_error", code: "unsupported", message };
    send({ type: "conversation.item.input_audio_transcription.failed", item_id: id, content_index: 0, error });
  }

  #milliseconds(sample: number): number {
    return Math.round((1000 * sample) / this.#host.model.framing.sampleRate);
  }

  /** Resolves when an event of the session was told, or the conversation has ended. */
  #told(type: LiveEvent["type"], item: string): Promise<void> {
    if (this.live.ended.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      this.#untold.set(`${type} ${item}`, resolve);
    });
  }

  async #update({ session }: ClientEventOf<"session.update">): Promise<void> {
    const [before, { service }] = [this.#config, this.#host];
    const config = updated(before, session, { model: service.name, canSpeak: this.#canSpeak });
    if (config.instructions !== before.instructions) await this.#checkLength(config.instructions);
    const { system, detector, turns, ...rest } = liveOptions(config, service.limits.maxTokens);
    if (config.input !== before.input) await this.#input.settle();
    if (config.turnDetection !== before.turnDetection) await this.#input.heard;
    this.live.update({
      ...rest,
      ...(config.instructions !== before.instructions && { system }),
      ...(config.turnDetection !== before.turnDetection && { detector, turns: turnOptions(config) }),
    });
    if (config.input !== before.input) this.#input.read(config.input);
    this.#config = config;
    this.#host.send({ type: "session.updated", session: this.#session() });
  }

  /** Refuses instructions that would end the session: the cache has no room for them. @throws {Refusal} */
  async #checkLength(instructions: string): Promise<void> {
    const { llm, tokenizer } = this.#host.model;
    const { length } = await tokenizer.encode(instructions);
    if (length < llm.cache.tokens) return;
    const message = `they have ${length} tokens, and the KV cache (--kv-tokens) holds ${llm.cache.tokens}`;
    throw invalid(message, "session.instructions", "context_length_exceeded");
  }

  #session() {
    const { service, expires } = this.#host;
    return sessionObject(this.#config, { id: this.#sessionId, model: service.name, expires });
  }

  /** Ends the user's turn, which nothing answers before the client asks for it. */
  async #commit(): Promise<void> {
    await this.#input.settle();
    const answer = this.#config.turnDetection?.create_response ?? false;
    this.live.update({ answer: false });
    const item = this.live.commit();
    this.live.update({ answer });
    if (item === undefined)
      throw invalid("no sound was heard since the last turn", null, "input_audio_buffer_commit_empty");
    this.#committed.add(item);
    await this.#told("speechEnd", item);
  }

  /** Takes a frame of a camera, which the session looks at while the user speaks. */
  async #look({ image }: ClientEventOf<"input_video_frame.append">): Promise<void> {
    const signal = this.live.ended;
    const { imagePixels: maxPixels } = this.#host.service.limits;
    const bytes = await ofDataUri(image, "image", signal);
    this.live.look(await loadImage(bytes, { name: "image", maxPixels, signal }));
  }

  async #create({ item: given, previous_item_id }: ClientEventOf<"conversation.item.create">): Promise<void> {
    const { limits } = this.#host.service;
    await setImmediate(); // what has happened in the session is told first
    this.#items.checkNew(given.id, previous_item_id);
    const images = imagesIn(given);
    if (this.#images + images > limits.images)
      throw invalid(`the conversation has ${this.#images} images, at most ${limits.images} are taken`, "item.content");
    const message = await messageOf(given, "item", this.#reading);
    this.#items.checkNew(given.id, previous_item_id);
    const { item: live, added } = this.live.add(message);
    this.#images += images;
    const { role } = given;
    const item: Item = { id: given.id ?? newId("item"), live, role, content: partsOf(given), status: "completed" };
    const previous = this.#items.add(item);
    this.#added(item, previous);
    try {
      await added;
    } catch (error) {
      this.#images -= images;
      this.#removed(item);
      throw error;
    }
    this.#host.send({ type: "conversation.item.done", previous_item_id: previous, item: itemObject(item) });
  }

  async #delete(id: string): Promise<void> {
    const code = "item_delete_invalid_item_id";
    const item = this.#items.get(id, code);
    if (this.#responses.active?.item === item) await this.#responses.stop(() => this.live.interrupt());
    if (!(await this.live.remove(item.live))) throw invalid("the item is no longer there", "item_id", code);
    this.#removed(item);
  }

  async #truncate({ item_id, audio_end_ms }: ClientEventOf<"conversation.item.truncate">): Promise<void> {
    const code = "item_truncate_invalid_item_id";
    const item = this.#items.get(item_id, code);
    if (item.spokenSeconds === undefined) throw invalid("only speech of the model can be cut", "item_id", code);
    const most = Math.ceil(1000 * item.spokenSeconds);
    if (audio_end_ms > most) throw invalid(`the item's audio has ${most} ms so far`, "audio_end_ms");
    const done = await this.#responses.cut(item, () => this.live.truncate(item.live, audio_end_ms / 1000));
    if (!done) throw invalid("the item was answered, and can no longer be cut", "item_id", code);
    await setImmediate(); // what stays of it is told first
    this.#host.send({ type: "conversation.item.truncated", item_id, content_index: 0, audio_end_ms });
  }

  async #respond(request: ResponseRequest, eventId: string | null): Promise<void> {
    const { limits } = this.#host.service;
    const config = { ...this.#config, ...replyConfig(this.#config, request, "response", this.#canSpeak) };
    const own = request.conversation === "none";
    const context = this.#context(config, request.metadata ?? null, own ? null : this.#id);
    if (own) return this.#outOfBand.start(await messagesOf(request, this.#items, this.#reading), context);
    if (request.input)
      throw invalid(
        'a response to other items is taken with conversation: "none" only',
        "response.input",
        "unsupported_value",
      );
    await setImmediate(); // what has happened in the session is told first
    if (this.#responses.active) throw alreadyActive();
    const { instructions } = request;
    const told = instructions ? this.live.add({ role: "system", content: instructions }) : undefined;
    told?.added.catch((error) => this.#host.fail(error, eventId));
    let item: string;
    try {
      item = this.live.respond(replyOptions(config, limits.maxTokens));
    } catch (error) {
      if (told) await this.live.remove(told.item);
      // A reply may be in progress whose beginning the client has not taken yet.
      throw error instanceof CaracalError && error.details.item !== undefined ? alreadyActive() : error;
    }
    this.#responses.ask(item, context);
    await this.#told("reply", item);
  }

  async #cancel(id: string | null): Promise<void> {
    if (id !== null && this.#outOfBand.cancel(id)) return;
    const { active } = this.#responses;
    // Clients know this beginning of the message.
    if (!active || (id !== null && id !== active.id))
      throw invalid("Cancellation failed: no such response is in progress", null, "response_cancel_not_active");
    await this.#responses.stop(() => this.live.interrupt());
  }

  #added(item: Item, previous_item_id: string | null): void {
    this.#host.send({ type: "conversation.item.added", previous_item_id, item: itemObject(item) });
  }

  #removed(item: Item): void {
    this.#items.remove(item);
    this.#host.send({ type: "conversation.item.deleted", item_id: item.id });
  }

  #context(
    config: ResponseContext["config"],
    metadata: ResponseContext["metadata"],
    conversation: string | null = this.#id,
  ): ResponseContext {
    return { config, metadata, conversation };
  }

  get #reading(): ReadItem {
    return { format: this.#config.input, limits: this.#host.service.limits, signal: this.live.ended };
  }
}
