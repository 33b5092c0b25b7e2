import { type Attachment, attachmentOf, checkSize } from "./attachments.js";
import { byId, element } from "./element.js";
import { wordsOf } from "./problem.js";

export interface ComposerListener {
  /** @returns whether it was sent; otherwise the message stays where it was written */
  send(text: string, attachments: readonly Attachment[]): Promise<boolean>;
  problem(words: string): void;
}

/** Where messages are written, and files are added: by a button, by pasting, or by dropping them on the page. */
export class Composer {
  readonly #listener: ComposerListener;
  readonly #message = byId("message", HTMLTextAreaElement);
  readonly #list = byId("attachments", HTMLUListElement);
  #attachments: Attachment[] = [];

  constructor(listener: ComposerListener) {
    this.#listener = listener;
    byId("composer", HTMLFormElement).addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#send();
    });
    this.#message.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      void this.#send();
    });
    this.#message.addEventListener("input", () => this.#grow());
    const files = byId("files", HTMLInputElement);
    files.addEventListener("change", async () => {
      await this.#add(files.files ?? []);
      files.value = "";
    });
    document.addEventListener("paste", (event) => this.#take(event, event.clipboardData));
    document.addEventListener("dragover", (event) => event.preventDefault());
    document.addEventListener("drop", (event) => this.#take(event, event.dataTransfer));
  }

  focus(): void {
    this.#message.focus();
  }

  async #send(): Promise<void> {
    const text = this.#message.value.trim();
    const attachments = this.#attachments;
    if (text === "" && attachments.length === 0) return;
    this.#write("", []);
    if (!(await this.#listener.send(text, attachments))) this.#write(text, attachments);
  }

  #write(text: string, attachments: readonly Attachment[]): void {
    this.#message.value = text;
    this.#attachments = [...attachments];
    this.#grow();
    this.#show();
  }

  #take(event: Event, data: DataTransfer | null): void {
    if (!data || data.files.length === 0) return;
    event.preventDefault();
    void this.#add(data.files);
  }

  async #add(files: Iterable<File>): Promise<void> {
    for (const file of files)
      try {
        const attachment = await attachmentOf(file);
        checkSize([...this.#attachments, attachment]);
        this.#attachments.push(attachment);
      } catch (error) {
        this.#listener.problem(wordsOf(error));
      }
    this.#show();
  }

  #show(): void {
    this.#list.hidden = this.#attachments.length === 0;
    this.#list.replaceChildren(
      ...this.#attachments.map((attachment) => {
        const remove = element("button", "quiet", "Remove");
        remove.type = "button";
        remove.setAttribute("aria-label", `Remove ${attachment.name}`);
        remove.addEventListener("click", () => {
          this.#attachments = this.#attachments.filter((other) => other !== attachment);
          this.#show();
          this.focus();
        });
        return element("li", "", element("span", "", attachment.name), remove);
      }),
    );
  }

  #grow(): void {
    this.#message.style.height = "auto";
    this.#message.style.height = `${Math.min(this.#message.scrollHeight, 160)}px`;
  }
}
