// A real Chromium, whose microphone plays a recording and whose camera shows a photo.
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type BrowserContextOptions, chromium, type Page } from "playwright-core";
import sharp from "sharp";
import { expect, onTestFinished } from "vitest";
import { samplePath } from "../server/served.js";

const paths = (process.env.PATH ?? "").split(":").map((folder) => join(folder, "chromium"));

/** The path of Chromium, or undefined where none is installed. */
export const chromiumPath = paths.find((path) => spawnSync(path, ["--version"]).status === 0);
if (!chromiumPath)
  console.warn("there is no chromium on the PATH (Debian: apt install chromium): the page is not tested in a browser");

/** A name of this machine for the browser, which does not trust it as it trusts localhost. */
export const otherName = "model.test";

/** Writes what the microphone hears, again and again: speech, between seconds of silence. */
function writeRecording(path: string): void {
  const wav = readFileSync(samplePath("speech.wav"));
  const silence = (seconds: number) => Buffer.alloc(2 * 16_000 * seconds);
  const samples = Buffer.concat([silence(1), wav.subarray(44), silence(1.5)]);
  const head = Buffer.from(wav.subarray(0, 44));
  head.writeUInt32LE(36 + samples.length, 4);
  head.writeUInt32LE(samples.length, 40);
  writeFileSync(path, Buffer.concat([head, samples]));
}

// biome-ignore lint/suspicious/noExplicitAny: events are what the tests look into
type AnyEvent = { readonly type: string; readonly [field: string]: any };

/** A page in a browser, and what it did. */
export interface Visit {
  readonly page: Page;
  /** Messages of the console, errors, and requests to other servers. */
  readonly complaints: readonly string[];
  readonly sent: readonly AnyEvent[];
  readonly received: readonly AnyEvent[];
}

interface VisitOptions extends BrowserContextOptions {
  /** Whether the browser gives microphone and camera. Default: true. */
  readonly allows?: boolean;
}

/**
 * Opens a page in a browser of its own, which is closed after the test.
 * @param folder for the files that the browser needs
 */
export async function visit(url: string, folder: string, options: VisitOptions = {}): Promise<Visit> {
  const { allows = true, ...context } = options;
  const [sound, picture] = [join(folder, "microphone.wav"), join(folder, "camera.mjpeg")];
  writeRecording(sound);
  writeFileSync(picture, await sharp(samplePath("photo.jpg")).jpeg({ progressive: false }).toBuffer()); // as cameras do
  const devices = ["--use-fake-device-for-media-stream", ...(allows ? ["--use-fake-ui-for-media-stream"] : [])];
  const files = [`--use-file-for-fake-audio-capture=${sound}`, `--use-file-for-fake-video-capture=${picture}`];
  // The sandbox does not work for root, as whom CI runs.
  const args = ["--no-sandbox", `--host-resolver-rules=MAP ${otherName} 127.0.0.1`, ...devices, ...files];
  const browser = await chromium.launch({ executablePath: chromiumPath!, args });
  onTestFinished(() => browser.close());
  const page = await browser.newPage(context);
  page.setDefaultTimeout(60_000);
  const [complaints, sent, received]: [string[], AnyEvent[], AnyEvent[]] = [[], [], []];
  page.on("console", (message) => complaints.push(`${message.type()}: ${message.text()}`));
  page.on("pageerror", (error) => complaints.push(String(error)));
  const check = (asked: string) => {
    const { protocol, host } = new URL(asked);
    if (host !== new URL(url).host && !/^(data|blob):$/.test(protocol)) complaints.push(`it asks ${asked}`);
  };
  page.on("request", (request) => check(request.url()));
  page.on("websocket", (socket) => {
    check(socket.url());
    socket.on("framesent", ({ payload }) => sent.push(JSON.parse(String(payload))));
    socket.on("framereceived", ({ payload }) => received.push(JSON.parse(String(payload))));
  });
  await page.goto(url);
  return { page, complaints, sent, received };
}

/** Waits until the status says what is happening. */
export const untilStatus = (page: Page, status: string) =>
  page.getByRole("status").filter({ hasText: status }).waitFor();

/** The strength of what is being played, as the player measures its own output. */
const spoken = "Number(document.getElementById('status').style.getPropertyValue('--level'))";
const polling = { timeout: 60_000, interval: 20 };
export const untilAudible = (page: Page) => expect.poll(() => page.evaluate(spoken), polling).toBeGreaterThan(0.01);
export const untilSilent = (page: Page) => expect.poll(() => page.evaluate(spoken), polling).toBe(0);
