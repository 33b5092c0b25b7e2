import { randomBytes } from "node:crypto";
import { invalid, Refusal } from "../errors.js";

/** A name that no other thing has, also in sessions that a client goes on with later. */
export const newId = (kind: string): string => `${kind}_${randomBytes(12).toString("hex")}`;

/** A part of an item as events show it: without media, which are not kept. */
export type ItemPart =
  | { readonly type: "input_text" | "output_text"; readonly text: string }
  | { readonly type: "input_audio" | "output_audio"; readonly transcript: string | null }
  | { readonly type: "input_image"; readonly detail: string };

/** An item of a conversation. */
export interface Item {
  /** Its name for the client. */
  readonly id: string;
  /** Its name in the session. */
  readonly live: string;
  readonly role: "system" | "user" | "assistant";
  content: readonly ItemPart[];
  status: "in_progress" | "completed" | "incomplete";
  /** Seconds of speech that were sent; undefined for what is not the model's own speech. */
  spokenSeconds?: number;
}

/** An item as events show it. */
export function itemObject({ id, role, content, status }: Item) {
  return { id, object: "realtime.item", type: "message", status, role, content };
}

/** The items of a conversation, in their order. */
export class Items {
  readonly #list: Item[] = [];
  readonly #most: number;

  /** @param most that clients may add to */
  constructor(most: number) {
    this.#most = most;
  }

  get all(): readonly Item[] {
    return this.#list;
  }

  /** The name of the last item. */
  get last(): string | null {
    return this.#list.at(-1)?.id ?? null;
  }

  /** Adds an item at the end. @returns the name of the one before it */
  add(item: Item): string | null {
    const { last } = this;
    this.#list.push(item);
    return last;
  }

  /** The item of the session with this name. */
  ofSession(live: string): Item | undefined {
    return this.#list.find((item) => item.live === live);
  }

  /** @throws {Refusal} 404, with this code, if there is none */
  get(id: string, code: string): Item {
    const item = this.#list.find((other) => other.id === id);
    if (item) return item;
    throw new Refusal({
      status: 404,
      message: `there is no item ${JSON.stringify(id.slice(0, 64))}`,
      param: "item_id",
      code,
    });
  }

  remove(item: Item): void {
    const index = this.#list.indexOf(item);
    if (index >= 0) this.#list.splice(index, 1);
  }

  /**
   * Checks that a client may add an item.
   * @param id that the client gives it
   * @param previous the item that it is to follow
   * @throws {Refusal} for too many, a name that another has, or a place that is not the end
   */
  checkNew(id: string | null | undefined, previous: string | null | undefined): void {
    if (this.#list.length >= this.#most)
      throw invalid(`the conversation has ${this.#list.length} items, at most ${this.#most} are taken`, "item");
    if (this.#list.some((item) => item.id === id)) throw invalid("another item has it", "item.id");
    if ((previous ?? null) === null || previous === this.last || (previous === "root" && this.last === null)) return;
    if (previous !== "root") this.get(previous!, "item_not_found");
    throw invalid("items can be added at the end only: omit it", "previous_item_id", "unsupported_value");
  }
}
