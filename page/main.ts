import { Camera } from "./camera.js";
import { Captions } from "./captions.js";
import { Composer } from "./composer.js";
import { type Activity, Conversation } from "./conversation.js";
import { byId } from "./element.js";
import { LatencyStrip } from "./latencyStrip.js";
import { Microphone } from "./microphone.js";
import { Problem, wordsOf } from "./problem.js";
import { readyServer } from "./server.js";

const status = byId("status", HTMLParagraphElement);
const welcome = byId("welcome", HTMLDivElement);
const problem = byId("problem", HTMLDivElement);
const again = byId("again", HTMLButtonElement);
const talk = byId("talk", HTMLButtonElement);
const mute = byId("mute", HTMLButtonElement);
const cameraButton = byId("camera", HTMLButtonElement);
const stop = byId("stop", HTMLButtonElement);
const viewfinder = byId("viewfinder", HTMLElement);
const captions = new Captions(byId("log", HTMLDivElement));
const strip = new LatencyStrip(byId("latency", HTMLOListElement), byId("underruns", HTMLParagraphElement));

let key: string | undefined;
let isReady = false;
let conversation: Promise<Conversation> | undefined;
/** The conversation, once it has begun. */
let current: Conversation | undefined;
let microphone: Microphone | undefined;
let isMuted = false;
let camera: Camera | undefined;

const words: Record<Activity, string> = {
  idle: "Ready",
  hearing: "You are speaking",
  preparing: "Preparing the reply",
  answering: "Answering",
};

/** Changes the status, which screen readers read out. */
function say(text: string): void {
  if (status.textContent !== text) status.textContent = text;
}

/** Shows what is happening. */
function show(): void {
  const activity = current?.activity ?? "idle";
  const isListening = activity === "idle" && microphone !== undefined;
  const listening = isMuted ? "Muted" : "Listening";
  say(isReady ? (isListening ? listening : words[activity]) : "Connecting …");
  status.dataset.activity = isReady ? (isListening && !isMuted ? "listening" : activity) : "off";
  byId("talk-label", HTMLSpanElement).textContent = microphone ? "Stop talking" : "Start talking";
  talk.dataset.on = String(microphone !== undefined);
  mute.disabled = microphone === undefined;
  mute.setAttribute("aria-pressed", String(isMuted));
  cameraButton.setAttribute("aria-pressed", String(camera !== undefined));
  viewfinder.hidden = camera === undefined;
  stop.setAttribute("aria-disabled", String(activity !== "preparing" && activity !== "answering"));
}

/** Says what went wrong. @param isOver whether a new conversation is needed */
function complain(text: string, isOver = false): void {
  byId("problem-text", HTMLParagraphElement).textContent = text;
  again.hidden = !isOver;
  problem.hidden = false;
}

/** Does what the user asked for, and says what went wrong with it. */
async function attempt(work: () => Promise<void>): Promise<boolean> {
  problem.hidden = true;
  try {
    await work();
    return true;
  } catch (error) {
    complain(wordsOf(error));
    return false;
  } finally {
    show();
  }
}

/** What a button does: once at a time, however often it is pressed. */
function press(button: HTMLButtonElement, work: () => Promise<void>): void {
  let isBusy = false;
  button.addEventListener("click", async () => {
    if (isBusy) return;
    isBusy = true;
    await attempt(work);
    isBusy = false;
  });
}

const setLevel = (element: HTMLElement, level: number) =>
  element.style.setProperty("--level", String(Math.min(1, 4 * level)));

/** The conversation, begun if there is none. @throws {Problem} */
function converse(): Promise<Conversation> {
  conversation ??= begin();
  conversation.catch(() => {
    conversation = undefined;
  });
  return conversation;
}

async function begin(): Promise<Conversation> {
  if (!isReady) throw new Problem("The server is not ready yet.");
  const begun: Conversation = await Conversation.start(key, {
    captions,
    strip,
    changed: show,
    problem: complain,
    heard: (rms) => setLevel(talk, rms),
    spoken: (rms) => setLevel(status, rms),
    closed: (reason) => end(reason),
  });
  captions.clear();
  strip.clear();
  welcome.hidden = true;
  current = begun;
  return begun;
}

/** The server or the network has ended the conversation. */
function end(reason: string): void {
  conversation = current = undefined;
  closeMicrophone();
  complain(`The conversation has ended${reason === "" ? ": the connection was lost" : `: ${reason}`}.`, true);
  void connect();
}

function closeMicrophone(): void {
  if (!microphone) return;
  microphone.close();
  microphone = undefined;
  isMuted = false;
  current?.endHearing();
  show();
}

async function toggleTalking(): Promise<void> {
  if (microphone) return closeMicrophone();
  const talking = await converse();
  const opened = await Microphone.open({
    heard: (samples) => talking.hear(samples),
    lost: () => {
      closeMicrophone();
      complain("The microphone is gone: connect it again, then start talking.");
    },
  });
  if (current === talking) microphone = opened;
  else opened.close(); // the conversation has ended meanwhile
}

async function toggleCamera(): Promise<void> {
  if (camera) {
    camera.close();
    camera = undefined;
    return;
  }
  const lost = () => {
    camera = undefined;
    complain("The camera is gone: connect it again, then turn it on.");
    show();
  };
  camera = await Camera.open(byId("video", HTMLVideoElement), (image) => current?.look(image), lost);
}

/** Waits until the server answers. */
async function connect(): Promise<void> {
  isReady = false;
  show();
  const server = await readyServer(key, say);
  key = server.key;
  byId("model", HTMLParagraphElement).textContent = server.model;
  isReady = true;
  show();
}

const composer = new Composer({
  send: (text, attachments) => attempt(async () => (await converse()).say(text, attachments)),
  problem: complain,
});

press(talk, toggleTalking);
press(cameraButton, toggleCamera);
press(again, async () => {
  await converse();
  composer.focus();
});
mute.addEventListener("click", () => {
  isMuted = !isMuted;
  microphone!.muted = isMuted;
  show();
});
stop.addEventListener("click", () => void current?.interrupt());
byId("dismiss", HTMLButtonElement).addEventListener("click", () => {
  problem.hidden = true;
  composer.focus();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !event.defaultPrevented) void current?.interrupt();
});

void connect();
