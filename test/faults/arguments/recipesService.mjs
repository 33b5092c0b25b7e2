// The recipes of live conversations and of the server.
import { internal } from "./internal.mjs";

/** @param w what the calls use @param make arguments that other recipes have as well */
export function serviceRecipes(w, { signal, samples, image }) {
  const { device } = w;
  const detector = () => ({ push: async () => [], [Symbol.dispose]() {} });
  const session = () => w.temporary(w.model.live({ detector: detector() }));
  const replyOptions = {
    speech: true,
    maxTokens: 4,
    temperature: 1,
    topK: 5,
    topP: 0.9,
    repetitionPenalty: 1.1,
    seed: 1,
  };
  return {
    live: () => ({
      on: w.model,
      args: [
        {
          ...{
            detector: detector(),
            turns: { threshold: 0.5 },
            clock: { now: () => 0 },
            system: "Be brief.",
            speculate: true,
            answer: true,
            bargeIn: true,
          },
          ...{ maxTurnSeconds: 60, maxWaitingFrames: 4 },
          ...replyOptions,
        },
      ],
    }),
    classes: {
      VoiceActivityDetector: {
        new: internal,
        open: () => ({ args: [{ device, weights: undefined, signal }] }),
      },
      VoiceActivityStream: {
        new: internal,
        push: () => ({ on: w.voices.stream(), args: [samples()] }),
      },
      TurnDetector: {
        new: () => ({
          args: [
            {
              threshold: 0.5,
              negativeThreshold: 0.35,
              minSpeechMs: 50,
              prefixPaddingMs: 300,
              speculativeSilenceMs: 250,
              silenceDurationMs: 600,
            },
          ],
        }),
        push: () => ({ on: new w.caracal.TurnDetector(), args: [Float32Array.of(0.1, 0.9)] }),
        restore: () => ({
          on: new w.caracal.TurnDetector(),
          args: [{ ...new w.caracal.TurnDetector().snapshot(), speechStart: 512, silenceStart: 1024 }],
        }),
      },
      LiveSession: {
        new: internal,
        push: () => ({ on: session(), args: [samples()] }),
        look: () => ({ on: session(), args: [image()] }),
        say: () => ({ on: session(), args: ["Hi"] }),
        truncate: () => ({ on: session(), args: ["item_1", 0.5] }),
        respond: () => ({ on: session(), args: [replyOptions] }),
        add: () => ({
          on: session(),
          args: [
            {
              role: "user",
              content: [
                { type: "text", text: "Hi" },
                { type: "image", image: image() },
              ],
            },
          ],
        }),
        remove: () => ({ on: session(), args: ["item_1"] }),
        update: () => ({
          on: session(),
          args: [
            {
              ...replyOptions,
              system: "Be brief.",
              turns: { threshold: 0.5 },
              answer: true,
              bargeIn: true,
              detector: null,
            },
          ],
        }),
        fail: internal,
      },
      OmniServer: {
        new: internal,
      },
      serve: () => ({
        args: [
          w.model,
          {
            host: "127.0.0.1",
            port: 0,
            modelName: "model",
            apiKey: "key",
            cors: "https://chat.example",
            limits: {
              ...{ replies: 2, readSeconds: 1, drainSeconds: 0.01, sessions: 2, sessionSeconds: 1 },
              ...{ messageBytes: 1000, waitingSeconds: 1, unreadBytes: 1000 },
            },
            onError: () => {},
          },
        ],
      }),
    },
  };
}
