import { z } from "zod";
import { invalid } from "../errors.js";
import { dataUri, mediaText, refusalOf } from "../fields.js";
import type { Limits } from "../limits.js";
import { createdItem, inputItem } from "./itemSchema.js";
import { responseSchema, sessionSchema } from "./sessionSchema.js";

const id = z.string().max(512);
const event_id = id.nullish();
const event = <T extends string, F extends z.ZodRawShape>(type: T, fields: F) =>
  z.strictObject({ type: z.literal(type), event_id, ...fields });

const schemas = (limits: Limits) => ({
  "session.update": event("session.update", { session: sessionSchema(limits) }),
  "input_audio_buffer.append": event("input_audio_buffer.append", { audio: mediaText }),
  "input_audio_buffer.commit": event("input_audio_buffer.commit", {}),
  "input_audio_buffer.clear": event("input_audio_buffer.clear", {}),
  "input_video_frame.append": event("input_video_frame.append", { image: dataUri }),
  "conversation.item.create": event("conversation.item.create", { item: createdItem, previous_item_id: id.nullish() }),
  "conversation.item.delete": event("conversation.item.delete", { item_id: id }),
  "conversation.item.retrieve": event("conversation.item.retrieve", { item_id: id }),
  "conversation.item.truncate": event("conversation.item.truncate", {
    item_id: id,
    content_index: z.literal(0, { error: "a reply has one part: it must be 0" }),
    audio_end_ms: z.number().min(0),
  }),
  "response.create": event("response.create", {
    response: z
      .strictObject({ ...responseSchema(limits), input: z.array(inputItem).max(limits.messages).nullish() })
      .nullish(),
  }),
  "response.cancel": event("response.cancel", { response_id: id.nullish() }),
});
type Schemas = ReturnType<typeof schemas>;
type Type = keyof Schemas;

/** A checked event of a client. */
export type ClientEvent = { [T in Type]: z.output<Schemas[T]> }[Type];
/** The event of a type. */
export type ClientEventOf<T extends Type> = z.output<Schemas[T]>;
/** What a client asks of a response. */
export type ResponseRequest = NonNullable<ClientEventOf<"response.create">["response"]>;

/** Checks the events of clients. */
export class ClientEvents {
  readonly #schemas: Schemas;

  constructor(limits: Limits) {
    this.#schemas = schemas(limits);
  }

  /** @throws {Refusal} which names the first field that is wrong */
  parse(value: unknown): ClientEvent {
    const { type } = Object(value) as { type?: unknown };
    if (typeof type !== "string") throw invalid("an event needs a type", "type");
    if (!Object.hasOwn(this.#schemas, type))
      throw invalid(`there is no event ${JSON.stringify(type.slice(0, 64))}`, "type");
    const schema = this.#schemas[type as Type];
    const { data, error } = schema.safeParse(value);
    if (error) throw refusalOf(error.issues[0]!, Object.keys(schema.shape), type);
    return data as ClientEvent;
  }
}

/** The name that a client gave its event, if it can be read. */
export function eventIdOf(value: unknown): string | null {
  const { event_id } = Object(value) as { event_id?: unknown };
  return typeof event_id === "string" ? event_id.slice(0, 512) : null;
}
