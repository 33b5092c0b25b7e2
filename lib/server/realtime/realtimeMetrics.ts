import { Counter, Gauge, Histogram, type Registry } from "prom-client";

/** Seconds from the end of what a user says to the first sound of the reply. */
const buckets = [0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8, 1, 1.5, 2, 3, 5, 10, 30];

/** What is measured of real-time sessions. */
export class RealtimeMetrics {
  readonly #sessions: Gauge;
  readonly #audioIn: Counter;
  readonly #audioOut: Counter;
  readonly #errors: Counter<"code">;
  readonly #firstAudio: Histogram;

  constructor(registry: Registry) {
    const registers = [registry];
    this.#sessions = new Gauge({
      name: "caracal_realtime_sessions",
      help: "Real-time sessions that are open",
      registers,
    });
    this.#audioIn = new Counter({
      name: "caracal_realtime_audio_input_seconds_total",
      help: "Seconds of sound that sessions were sent, speech or not",
      registers,
    });
    this.#audioOut = new Counter({
      name: "caracal_realtime_audio_output_seconds_total",
      help: "Seconds of speech that sessions sent",
      registers,
    });
    this.#errors = new Counter({
      name: "caracal_realtime_errors_total",
      help: "Error events of sessions, by code",
      labelNames: ["code"] as const,
      registers,
    });
    this.#firstAudio = new Histogram({
      name: "caracal_realtime_first_audio_seconds",
      help: "From the end of a turn to the first sound of the reply",
      buckets,
      registers,
    });
  }

  opened(): void {
    this.#sessions.inc();
  }

  closed(): void {
    this.#sessions.dec();
  }

  heard(seconds: number): void {
    this.#audioIn.inc(seconds);
  }

  spoke(seconds: number): void {
    this.#audioOut.inc(seconds);
  }

  /** @param code one of the server's own */
  error(code: string): void {
    this.#errors.inc({ code });
  }

  firstAudio(seconds: number): void {
    this.#firstAudio.observe(seconds);
  }
}
