import type { ReplyUsage } from "../model/reply/usage.js";

/**
 * What a live session tells. Samples are counted from the first one that was pushed; `item` names the turn or the reply in
 * the conversation.
 */
export type LiveEvent =
  /** The user began to speak, at this sample. */
  | { readonly type: "speechStart"; readonly item: string; readonly sample: number }
  /** The user fell silent: a reply is being prepared. */
  | { readonly type: "speechPause"; readonly item: string; readonly sample: number }
  /** The user goes on: what was prepared was dropped without a trace. */
  | { readonly type: "speechResume"; readonly item: string; readonly sample: number }
  /** The user's turn has ended, where it paused. */
  | { readonly type: "speechEnd"; readonly item: string; readonly sample: number }
  /** A reply begins; its text and audio follow. */
  | { readonly type: "reply"; readonly item: string }
  | { readonly type: "text"; readonly item: string; readonly text: string; readonly ids: readonly number[] }
  | {
      readonly type: "audio";
      readonly item: string;
      /** In [−1, 1]. */
      readonly samples: Float32Array;
      readonly sampleRate: number;
    }
  /** The model has finished a reply, or was stopped (`length`): by `maxTokens`, or since conversations fill the KV cache. */
  | {
      readonly type: "replyEnd";
      readonly item: string;
      readonly reason: "stop" | "length";
      readonly text: string;
      readonly ids: readonly number[];
      readonly usage: ReplyUsage;
    }
  /**
   * A reply was interrupted. The conversation goes on as if it had ended after `text`: at a natural break before what
   * the listener has heard, `heardSeconds` of its speech.
   */
  | {
      readonly type: "interrupted";
      readonly item: string;
      readonly text: string;
      readonly heardSeconds: number;
      /** What it took until it was stopped; null if it had not begun, or was complete and is cut later. */
      readonly usage: ReplyUsage | null;
    };
