import type { Attachment } from "./attachments.js";
import type { Captions } from "./captions.js";
import { Connection, type ServerEvent } from "./connection.js";
import { SampleClock, type TurnTimes } from "./latency.js";
import type { LatencyStrip } from "./latencyStrip.js";
import { Loudness } from "./loudness.js";
import { inputChunk, inputRate, ofBase64, ofPcm16, outputRate, pcm16, toBase64 } from "./pcm.js";
import { Problem } from "./problem.js";
import { Speaker } from "./speaker.js";

/** What happens in a conversation. */
export type Activity = "idle" | "hearing" | "preparing" | "answering";

export interface ConversationHost {
  readonly captions: Captions;
  readonly strip: LatencyStrip;
  /** The activity is another one. */
  changed(): void;
  problem(words: string): void;
  /** It has ended, because the server or the network ended it. @param reason as the server says it, or "" */
  closed(reason: string): void;
  /** @param rms of what is sent */
  heard(rms: number): void;
  /** @param rms of what is played */
  spoken(rms: number): void;
}

/** Bytes that wait to be sent, beyond which frames of the camera are left out. */
const congested = 1 << 18;
/** Chunks of silence by which a turn ends when the microphone is closed. */
const lastSilence = 32;
/**
 * Milliseconds of silence after the end of speech with which the server ends a turn's sound. It then waits for more before
 * it says that the turn has ended.
 */
const silenceInTurn = 256;
/** Bars that show how loud a turn was. */
const bars = 40;
/** Errors that tell of a reply which has ended meanwhile. */
const late = new Set(["response_cancel_not_active", "item_truncate_invalid_item_id"]);

/** A conversation with the model, which lasts as long as its connection. */
export class Conversation {
  readonly #host: ConversationHost;
  #connection!: Connection;
  #speaker: Speaker | undefined;
  readonly #clock = new SampleClock(inputRate);
  readonly #loudness = new Loudness();
  /** When the user's turns began, in milliseconds of what was sent. */
  readonly #starts = new Map<string, number>();
  /** The turn that is being answered. */
  #turn: TurnTimes | undefined;
  #isHearing = false;
  #isAsked = false;
  /** The item of the reply that comes from the server. */
  #active: string | undefined;
  /** The item of the reply that waits in the speaker, or is played. */
  #playing: string | undefined;
  /** Whether it has sound. */
  #isSpoken = false;
  /** Items of which nothing more is played. */
  readonly #silenced = new Set<string>();
  #written = 0;

  readonly #handlers: Readonly<Record<string, (event: ServerEvent) => void>> = {
    "input_audio_buffer.speech_started": (event) => this.#onSpeechStarted(event),
    "input_audio_buffer.speech_stopped": (event) => this.#onSpeechStopped(event),
    "response.created": () => this.#stamp("created"),
    "response.output_item.added": (event) => this.#onReply(event),
    "response.output_audio_transcript.delta": (event) => this.#onWords(event),
    "response.output_text.delta": (event) => {
      this.#received(event.item_id);
      this.#onWords(event);
    },
    "response.output_audio.delta": (event) => this.#onSound(event),
    "response.output_audio.done": (event) => this.#speaker?.end(event.item_id),
    "response.done": (event) => this.#onDone(event),
    "conversation.item.truncated": ({ item_id }) =>
      this.#connection.send({ type: "conversation.item.retrieve", item_id }),
    "conversation.item.retrieved": ({ item }) => this.#host.captions.keep(item.id, item.content[0]?.transcript ?? ""),
    error: ({ error }) => {
      this.#isAsked = false; // it may be that of a response that was refused
      this.#host.changed();
      if (!late.has(error.code)) this.#host.problem(`The server says: ${error.message}`);
    },
  };

  private constructor(host: ConversationHost) {
    this.#host = host;
  }

  /** @throws {Problem} if the server refuses it */
  static async start(key: string | undefined, host: ConversationHost): Promise<Conversation> {
    const conversation = new Conversation(host);
    const speaker = Speaker.possible ? await Speaker.open(conversation.#speakerListener) : undefined;
    const connection = await Connection.open(key, {
      event: (event) => conversation.#handlers[event.type]?.(event),
      closed: (reason) => {
        speaker?.close();
        host.closed(reason);
      },
    });
    if (!connection) {
      speaker?.close();
      throw new Problem(
        "The server refuses the conversation: perhaps it is in as many as it allows. Try again in a while.",
      );
    }
    conversation.#speaker = speaker;
    conversation.#connection = connection;
    connection.send({
      type: "session.update",
      session: {
        type: "realtime",
        ...(!speaker && { output_modalities: ["text"] }),
        audio: {
          input: { format: { type: "audio/pcm", rate: inputRate } },
          output: { format: { type: "audio/pcm", rate: outputRate } },
        },
      },
    });
    return conversation;
  }

  get activity(): Activity {
    if (this.#isHearing) return "hearing";
    if (this.#playing !== undefined) return "answering";
    return this.#active !== undefined || this.#isAsked ? "preparing" : "idle";
  }

  /** Sends what the microphone hears. */
  hear(samples: Float32Array): void {
    this.#clock.heard(samples.length, performance.now());
    this.#append(samples);
  }

  /** The microphone was closed: a turn ends by the silence that follows. */
  endHearing(): void {
    this.#clock.skip(lastSilence * inputChunk);
    for (let i = 0; i < lastSilence; i++) this.#append(new Float32Array(inputChunk));
  }

  /** Sends what the camera sees. */
  look(image: string): void {
    if (this.#connection.waiting < congested) this.#connection.send({ type: "input_video_frame.append", image });
  }

  /** Asks by text, images and sounds. */
  async say(text: string, attachments: readonly Attachment[]): Promise<void> {
    await this.interrupt();
    this.#host.captions.userWrote(`written_${++this.#written}`, text, attachments);
    const content = attachments.map(({ part }): object => part);
    if (text !== "") content.push({ type: "input_text", text });
    this.#connection.send({ type: "conversation.item.create", item: { type: "message", role: "user", content } });
    this.#connection.send({ type: "response.create" });
    this.#turn = undefined;
    this.#isAsked = true;
    this.#host.changed();
  }

  /** Stops the reply, also one that has been asked for only, and tells the server how much of it was played. */
  async interrupt(): Promise<void> {
    const active = this.#active;
    if (active !== undefined) this.#silenced.add(active); // what is still on its way is not played
    const stopped = await this.#speaker?.stop();
    const item = stopped?.id ?? active;
    if (item === undefined && !this.#isAsked) return;
    if (item !== undefined) this.#host.captions.interrupted(item);
    if (stopped)
      this.#connection.send({
        ...{ type: "conversation.item.truncate", item_id: stopped.id, content_index: 0 },
        audio_end_ms: stopped.milliseconds,
      });
    else this.#connection.send({ type: "response.cancel" });
    this.#playing = undefined;
    this.#host.changed();
  }

  #append(samples: Float32Array): void {
    this.#host.heard(this.#loudness.push(samples));
    this.#connection.send({ type: "input_audio_buffer.append", audio: toBase64(pcm16(samples)) });
  }

  get #speakerListener() {
    return {
      began: (id: string, time: number) => {
        if (id === this.#playing) this.#stamp("audible", time);
      },
      finished: (id: string) => {
        if (id !== this.#playing) return;
        this.#playing = undefined;
        this.#host.changed();
      },
      level: (rms: number, underruns: number) => {
        this.#host.spoken(rms);
        this.#host.strip.underruns = underruns;
      },
    };
  }

  #onSpeechStarted({ item_id, audio_start_ms }: ServerEvent): void {
    this.#isHearing = true;
    this.#turn = undefined;
    this.#starts.set(item_id, audio_start_ms);
    void this.interrupt();
    this.#host.captions.userSpeaks(item_id);
    this.#host.changed();
  }

  #onSpeechStopped({ item_id, audio_end_ms }: ServerEvent): void {
    this.#isHearing = false;
    this.#isAsked = true;
    const end = audio_end_ms - silenceInTurn;
    const start = this.#starts.get(item_id) ?? end;
    this.#starts.delete(item_id);
    this.#host.captions.userSpoke(item_id, Math.max(0, end - start) / 1000, this.#loudness.parts(start, end, bars));
    const speechEnd = this.#clock.timeOf(end);
    this.#turn = speechEnd === undefined ? undefined : { speechEnd };
    this.#stamp("confirmed");
    this.#host.changed();
  }

  #onReply({ item }: ServerEvent): void {
    this.#active = item.id;
    this.#isAsked = this.#isSpoken = false;
    this.#host.captions.reply(item.id);
    this.#host.changed();
  }

  #onWords({ item_id, delta }: ServerEvent): void {
    this.#host.captions.text(item_id, delta);
  }

  #onSound({ item_id, delta }: ServerEvent): void {
    if (!this.#speaker || this.#silenced.has(item_id)) return;
    this.#isSpoken = true;
    this.#received(item_id);
    this.#speaker.push(item_id, ofPcm16(ofBase64(delta)));
  }

  /** The first of a reply is there. */
  #received(item: string): void {
    if (this.#playing === item) return;
    this.#playing = item;
    this.#stamp("received");
    this.#host.changed();
  }

  #onDone({ response: { status, status_details } }: ServerEvent): void {
    const item = this.#active;
    this.#active = undefined;
    if (item === undefined) return;
    if (status === "cancelled") this.#host.captions.interrupted(item);
    else this.#host.captions.done(item, status === "incomplete" ? "cut at its greatest length" : "");
    if (status === "failed") this.#host.problem(`The reply failed: ${status_details?.error?.message ?? "unknown"}`);
    if (!this.#isSpoken || status === "failed") this.#playing = undefined;
    this.#host.changed();
  }

  /** Notes a moment of the turn that is being answered, if it was spoken. */
  #stamp(moment: "confirmed" | "created" | "received" | "audible", time = performance.now()): void {
    if (!this.#turn) return;
    this.#turn[moment] ??= time;
    this.#host.strip.show(this.#turn);
  }
}
