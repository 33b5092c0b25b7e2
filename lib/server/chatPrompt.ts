import { TemporaryFile } from "../media/input.js";
import type { Message, Part } from "../model/prompt/messages.js";
import { ofBase64, ofDataUri } from "./base64.js";
import type { ChatMessage, ChatRequest, UserPart } from "./chatSchema.js";
import { invalid } from "./errors.js";
import type { Limits } from "./limits.js";
import type { SpokenReplies } from "./spokenReplies.js";

export interface PromptContext {
  readonly limits: Limits;
  readonly spoken: SpokenReplies;
  /** Aborted when the prompt is no longer needed. */
  readonly signal: AbortSignal;
}

/** The conversation of a request, as `OmniModel.generate` takes it: message for message, and part for part. */
export interface ChatPrompt {
  readonly messages: readonly Message[];
  /** Names a file of the server, which a message of the library may mention, as the client knows it. */
  readonly clientNames: ReadonlyMap<string, string>;
}

/** @throws {Refusal} for media that are no base64, and spoken replies that are not known */
export async function chatPrompt(request: ChatRequest, context: PromptContext): Promise<ChatPrompt> {
  const reader = new PromptReader(request, context);
  const messages: Message[] = [];
  for (const [i, message] of request.messages.entries()) messages.push(await reader.message(message, `messages[${i}]`));
  return { messages, clientNames: reader.clientNames };
}

class PromptReader {
  readonly clientNames = new Map<string, string>();
  readonly #context: PromptContext;
  readonly #interleaveAudio: boolean;

  constructor(request: ChatRequest, context: PromptContext) {
    this.#context = context;
    this.#interleaveAudio = request.mm_processor_kwargs?.use_audio_in_video ?? false;
  }

  async message(message: ChatMessage, param: string): Promise<Message> {
    if (message.role === "assistant") return { role: "assistant", content: this.#reply(message, param) };
    if (message.role !== "user") return { role: "system", content: message.content };
    const content: Part[] = [];
    for (const [i, part] of message.content.entries()) content.push(await this.#part(part, `${param}.content[${i}]`));
    return { role: "user", content };
  }

  #reply({ content, audio }: ChatMessage & { role: "assistant" }, param: string): Message["content"] {
    if (!audio) {
      if (content) return content;
      throw invalid("an assistant's message needs content or audio", param);
    }
    if (content) throw invalid("a spoken reply has its own text: omit the content", `${param}.content`);
    return this.#context.spoken.content(audio.id, `${param}.audio.id`);
  }

  async #part(part: UserPart, param: string): Promise<Part> {
    const { limits, signal } = this.#context;
    const { imagePixels: maxPixels, videoSeconds: maxSeconds } = limits;
    switch (part.type) {
      case "text":
        return part;
      case "image_url":
        return {
          type: "image",
          image: await ofDataUri(part.image_url.url, `${param}.image_url.url`, signal),
          maxPixels,
        };
      case "input_audio":
        return { type: "audio", audio: await ofBase64(part.input_audio.data, `${param}.input_audio.data`, signal) };
      case "video_url": {
        const bytes = await ofDataUri(part.video_url.url, `${param}.video_url.url`, signal);
        const video = await this.#file(bytes, param);
        return { type: "video", video, interleaveAudio: this.#interleaveAudio, maxPixels, maxSeconds };
      }
    }
  }

  /** Bytes as a file, which is there as long as the request: videos are read when their frames are needed. */
  async #file(bytes: Uint8Array, name: string): Promise<string> {
    const { signal } = this.#context;
    const file = await TemporaryFile.write(bytes, signal);
    const remove = () => void file[Symbol.asyncDispose]().catch(() => {}); // the system empties its folder, too
    if (signal.aborted) remove();
    else signal.addEventListener("abort", remove, { once: true });
    this.clientNames.set(file.path, name);
    return file.path;
  }
}
