// The page of the server in a real browser: it is heard, answered and interrupted.
import sharp from "sharp";
import { describe, expect, test, vi } from "vitest";
import type { OmniModel } from "../../lib/model/omni.js";
import { scratch } from "../checkpoint/files.js";
import { RealtimeClient } from "../server/realtime/client.js";
import { samplePath, served, tinyModel } from "../server/served.js";
import { chromiumPath, otherName, untilAudible, untilSilent, untilStatus, visit } from "./browser.js";

const model = await tinyModel(11); // its replies are seconds long
const folder = scratch();

describe.skipIf(!chromiumPath)("in a browser, the page", () => {
  test("is heard, looks, answers aloud, and is interrupted by speech", async () => {
    const { server } = await served(model);
    const { page, complaints, sent, received } = await visit(server.url, folder);
    await untilStatus(page, "Ready");
    await page.getByRole("button", { name: "Camera" }).click();
    await page.getByRole("button", { name: "Start talking" }).click();
    await untilStatus(page, "You are speaking");
    await page
      .getByText(/^spoken turn \([1-4]\.\d s\)$/)
      .first()
      .waitFor();
    await untilStatus(page, "Answering");
    await untilAudible(page);
    // The microphone says it again, amid this reply or a longer one.
    const interrupted = page.locator("article.assistant.interrupted");
    await interrupted.first().waitFor();
    await untilSilent(page);
    await interrupted.locator("del").first().waitFor(); // what was not heard
    expect(await interrupted.first().textContent()).toContain("interrupted");
    await page.getByRole("button", { name: "Stop talking" }).click();
    const latency = page.getByRole("list", { name: "Latest spoken turns" }).getByRole("listitem");
    expect(await latency.last().textContent()).toMatch(
      /^\d+ ms\s*silence heard \d+ reply begins \d+ sound arrives \d+ sound plays \d+ $/,
    );
    const [truncate] = sent.filter(({ type }) => type === "conversation.item.truncate");
    const [truncated] = received.filter(({ audio_end_ms }) => audio_end_ms === truncate!.audio_end_ms);
    expect(truncated).toMatchObject({ type: "conversation.item.truncated", item_id: truncate!.item_id });
    const frames = sent.filter(({ type }) => type === "input_video_frame.append");
    expect(frames[0]!.image).toMatch(/^data:image\/jpeg;base64,/);
    expect(received.filter(({ type }) => type === "error")).toEqual([]);
    expect(complaints).toEqual([]);
  });

  test("is used by the keyboard alone, for those without a microphone", async () => {
    const { server } = await served(model);
    const { page, complaints, sent } = await visit(server.url, folder);
    await untilStatus(page, "Ready");
    const order = [];
    for (let i = 0; i < 7; i++) {
      await page.keyboard.press("Tab");
      order.push(await page.evaluate("document.activeElement.id"));
      expect(await page.evaluate("getComputedStyle(document.activeElement).outlineStyle")).toBe("solid");
    }
    expect(order).toEqual(["log", "talk", "camera", "stop", "files", "message", "send"]);
    await page.keyboard.press("Shift+Tab");
    await page.keyboard.type("Hello!");
    await page.keyboard.press("Enter");
    await page.locator("article.user").getByText("Hello!").waitFor();
    await untilAudible(page);
    await page.keyboard.press("Escape");
    await untilSilent(page);
    await untilStatus(page, "Ready");
    await page.locator("article.assistant.interrupted").waitFor();
    expect(await page.evaluate("document.activeElement.id")).toBe("message");
    await page.keyboard.type("And now?");
    await page.keyboard.press("Enter");
    await untilAudible(page);
    await page.keyboard.type("Wait."); // which interrupts
    await page.keyboard.press("Enter");
    await expect.poll(() => page.locator("article.assistant.interrupted").count()).toBe(2);
    expect(sent.filter(({ type }) => type === "conversation.item.truncate")).toHaveLength(2);
    expect(complaints).toEqual([]);
  });

  test("answers the last of several messages", async () => {
    const { server } = await served(model);
    const { page, received } = await visit(server.url, folder);
    await untilStatus(page, "Ready");
    const message = page.getByRole("textbox", { name: "Message" });
    for (const text of ["One", "Two", "Three", "Four"]) {
      await message.fill(text);
      await message.press("Enter");
    }
    await expect.poll(() => page.locator("article.assistant").count(), { timeout: 60_000 }).toBe(4);
    await untilAudible(page);
    expect(await page.locator("article.user .text").allTextContents()).toEqual(["One", "Two", "Three", "Four"]);
    expect(await page.locator("article.assistant.interrupted").count()).toBe(3);
    expect(received.filter(({ type }) => type === "error")).toEqual([]);
  });

  test("sends silence while the microphone is muted", async () => {
    const { server } = await served(model);
    const { page, complaints, sent } = await visit(server.url, folder);
    await untilStatus(page, "Ready");
    await page.getByRole("button", { name: "Start talking" }).click();
    await page.getByRole("button", { name: "Mute" }).click();
    const sounds = () => sent.filter(({ type }) => type === "input_audio_buffer.append").map(({ audio }) => audio);
    const isSilent = (audio: string) => /^A+=*$/.test(audio);
    await expect.poll(() => sounds().slice(-100).filter(isSilent).length, { timeout: 60_000 }).toBe(100); // 3.2 s
    await untilStatus(page, "Muted");
    expect(await page.getByRole("button", { name: "Mute" }).getAttribute("aria-pressed")).toBe("true");
    await page.getByRole("button", { name: "Mute" }).click();
    await untilStatus(page, "You are speaking");
    expect(sounds().every((audio) => audio.length === sounds()[0]!.length)).toBe(true);
    expect(complaints).toEqual([]);
  });

  test("takes images and sounds", async () => {
    const { server } = await served(model);
    const { page, complaints, sent, received } = await visit(server.url, folder);
    await untilStatus(page, "Ready");
    await page.getByLabel("Add images or sounds").setInputFiles([samplePath("photo.jpg"), samplePath("speech.wav")]);
    await page.getByRole("button", { name: "Remove photo.jpg" }).waitFor();
    await page.getByRole("button", { name: "Remove speech.wav" }).waitFor();
    await page.getByRole("textbox", { name: "Message" }).fill("What is this?");
    await page.getByRole("button", { name: "Send" }).click();
    await page.getByRole("img", { name: "photo.jpg" }).waitFor();
    await page.getByText("speech.wav (3.3 s)").waitFor();
    await untilAudible(page);
    const { item } = sent.find(({ type }) => type === "conversation.item.create")!;
    const types = item.content.map((part: { type: string }) => part.type);
    expect(types).toEqual(["input_image", "input_audio", "input_text"]);
    expect(item.content[1].audio.length / 4).toBeCloseTo((3.3 * 16_000 * 2) / 3, -3.3);
    await page.getByLabel("Add images or sounds").setInputFiles([samplePath("README.md")]);
    await page.getByRole("alert").getByText("README.md is neither an image nor a sound").waitFor();
    expect(received.filter(({ type }) => type === "error")).toEqual([]);
    expect(complaints).toEqual([]);
  });

  test("writes and reads text where the browser does not trust it with sound", async () => {
    const { server } = await served(model, { cors: "*" });
    const { page, complaints, sent } = await visit(server.url.replace("127.0.0.1", otherName), folder);
    await untilStatus(page, "Ready");
    await page.getByRole("textbox", { name: "Message" }).fill("Hello!");
    await page.keyboard.press("Enter");
    const reply = page.locator("article.assistant:not([aria-busy])");
    await reply.waitFor();
    expect((await reply.locator(".text").textContent())!.length).toBeGreaterThan(10);
    await untilStatus(page, "Ready");
    expect(sent[0]!.session.output_modalities).toEqual(["text"]);
    await page.getByRole("button", { name: "Start talking" }).click();
    await page.getByRole("alert").getByText("Browsers give microphone and camera to secure pages only").waitFor();
    expect(complaints).toEqual([expect.stringContaining("Cross-Origin-Opener-Policy header has been ignored")]);
  });

  test("tells screen readers what everything is", async () => {
    const { server } = await served(model);
    const { page } = await visit(server.url, folder);
    await untilStatus(page, "Ready");
    expect(await page.locator("body").ariaSnapshot()).toMatchInlineSnapshot(`
      "- banner:
        - heading "Caracal" [level=1]
        - paragraph: model
        - status: Ready
      - main:
        - region "Conversation":
          - log "Captions"
          - heading "Talk to the model" [level=2]
          - paragraph: It hears you as you speak, looks through the camera if you like, and answers aloud. To interrupt it, just speak.
          - paragraph: "Without a microphone: write, or add images and sounds below."
        - complementary "Camera and response times":
          - region "Response time":
            - heading "Response time" [level=2]
            - paragraph: From the end of your speech to the first sound of the reply, in milliseconds.
            - list "Latest spoken turns, in milliseconds"
            - paragraph
      - contentinfo:
        - group "Controls":
          - button "Start talking"
          - button "Mute" [disabled]
          - button "Camera"
          - button "Stop reply Esc" [disabled]
        - form "Write":
          - button "Add images or sounds"
          - text: Add images or sounds Message
          - textbox "Message":
            - /placeholder: Write a message
          - button "Send""
    `);
  });
});

describe.skipIf(!chromiumPath)("the page says what is wrong", () => {
  test("when there is no key, or a wrong one", async () => {
    const { server } = await served(model, { apiKey: "sk-right" });
    const { page } = await visit(server.url, folder);
    const dialog = page.getByRole("dialog", { name: "This server needs its API key" });
    await dialog.waitFor();
    await page.keyboard.press("Escape");
    await page.keyboard.type("sk-wrong");
    await page.keyboard.press("Enter");
    await dialog.getByText("That key is wrong").waitFor();
    await page.keyboard.type("sk-right");
    await page.keyboard.press("Enter");
    await untilStatus(page, "Ready");
    expect(await dialog.isVisible()).toBe(false);
    await page.getByRole("textbox", { name: "Message" }).fill("Hello!");
    await page.keyboard.press("Enter");
    await untilAudible(page);
  });

  test("when the browser gives no microphone, or there are too many conversations", async () => {
    const { server } = await served(model, { limits: { sessions: 1 } });
    const { page } = await visit(server.url, folder, { allows: false });
    await untilStatus(page, "Ready");
    const other = await RealtimeClient.open(server);
    await page.getByRole("button", { name: "Start talking" }).click();
    const alert = page.getByRole("alert");
    await alert.getByText("The server refuses the conversation").waitFor();
    const message = page.getByRole("textbox", { name: "Message" });
    await message.fill("Hello!");
    await message.press("Enter");
    await alert.getByText("The server refuses the conversation").waitFor();
    await expect.poll(() => message.inputValue()).toBe("Hello!"); // it is not lost
    await other.close();
    await vi.waitFor(async () => {
      await page.getByRole("button", { name: "Start talking" }).click();
      await alert.getByText("The browser does not give the microphone").waitFor({ timeout: 2000 });
    });
    await page.getByRole("button", { name: "Camera" }).click();
    await alert.getByText("The browser does not give the camera").waitFor();
  });

  test("while the model is loaded, and when the server ends the conversation", async () => {
    let loaded = (_: OmniModel) => {};
    const loading = new Promise<OmniModel>((resolve) => {
      loaded = resolve;
    });
    const { server } = await served(loading);
    const { page } = await visit(server.url, folder);
    await untilStatus(page, "Loading the model …");
    loaded(model);
    await untilStatus(page, "Ready");
    await page.getByRole("textbox", { name: "Message" }).fill("Hello!");
    await page.keyboard.press("Enter");
    await untilAudible(page);
    await page.keyboard.press("Escape");
    await server.close();
    await page.getByRole("alert").getByText("The conversation has ended: the server is shutting down.").waitFor();
    await page.getByRole("button", { name: "New conversation" }).waitFor();
    await untilStatus(page, "The server does not answer");
  });
});

test.skipIf(!chromiumPath)("the page fits windows of any width", async () => {
  const { server } = await served(model);
  const { page } = await visit(server.url, folder);
  await untilStatus(page, "Ready");
  for (const width of [360, 768, 1600]) {
    await page.setViewportSize({ width, height: 720 });
    expect(await page.evaluate("document.documentElement.scrollWidth")).toBeLessThanOrEqual(width);
    for (const button of await page.getByRole("button").all()) {
      const box = (await button.boundingBox())!;
      expect(box.x, "left").toBeGreaterThanOrEqual(0);
      expect(box.x + box.width, "right").toBeLessThanOrEqual(width);
      expect(box.height).toBeGreaterThanOrEqual(44);
    }
  }
});

const picture = process.env.CARACAL_SCREENSHOT;
test.runIf(chromiumPath && picture)("the page has its picture taken, in the light and in the dark", async () => {
  const { server } = await served(model, { modelName: "tiny" });
  const { page } = await visit(server.url, folder, { viewport: { width: 1200, height: 760 } });
  await untilStatus(page, "Ready");
  await page.getByRole("button", { name: "Camera" }).click();
  await page.getByRole("textbox", { name: "Message" }).fill("Hello! Tell me what you see.");
  await page.keyboard.press("Enter");
  await untilAudible(page);
  await page.getByRole("button", { name: "Start talking" }).click();
  for (const turns of [1, 2]) await expect.poll(() => page.locator(".wave").count(), { timeout: 60_000 }).toBe(turns);
  await untilAudible(page);
  for (const [colorScheme, name] of [
    ["light", picture!],
    ["dark", picture!.replace(/(?=\.png$)/, "-dark")],
  ] as const) {
    await page.emulateMedia({ colorScheme });
    await sharp(await page.screenshot())
      .png({ palette: true, effort: 10 })
      .toFile(name);
  }
});
