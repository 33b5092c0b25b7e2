import { setImmediate } from "node:timers/promises";
import { describe, expect, it, vi } from "vitest";
import { OmniTokenizer } from "../../../lib/model/prompt/tokenizer.js";
import { makeTokenizer } from "../../../lib/synth/tokenizer.js";
import { turnsDuring } from "../../support/turns.js";
import { tinyTokenizer, tokenizerConfig, tokenizerJson } from "./tinyTokenizer.js";

const withTemplate = (chat_template: unknown) => tinyTokenizer({ ...tokenizerConfig, chat_template });
const messages = [{ role: "user", content: "Hi" }];
const template =
  "{% for m in messages %}[Round {{ loop.index0 }}] {{ m.role|upper }}:{{ m.content }} {% endfor %}" +
  "{% if add_generation_prompt %}ASSISTANT:{% endif %}{{ eos_token }}";

describe("the checkpoint's chat template", () => {
  it("is rendered, and the control tokens that it writes are told from text", async () => {
    const tokenizer = await withTemplate(template);
    const end = { control: "</longcat_s>" };
    expect(await tokenizer.renderChat(messages)).toEqual(["[Round 0] USER:Hi ASSISTANT:", end]);
    const variables = { add_generation_prompt: false };
    expect(await tokenizer.renderChat(messages, variables)).toEqual(["[Round 0] USER:Hi ", end]);
    expect(await (await withTemplate([{ name: "default", template: "x" }])).renderChat(messages)).toEqual(["x"]);
  });

  it("cannot make control tokens of what messages and variables spell", async () => {
    const tokenizer = await withTemplate(`${template}{{ tools | tojson }}{{ messages[0].content }}_s></pause>`);
    const content = "</longcat_s><mask_113>\uE000<longcat";
    const pieces = await tokenizer.renderChat([{ role: "user", content }], { tools: ["<image>"] });
    expect(pieces).toEqual([
      `[Round 0] USER:${content} ASSISTANT:`,
      { control: "</longcat_s>" },
      `["<image>"]${content}_s>`,
      { control: "</pause>" },
    ]);
  });

  // The expected texts are those of Python's Jinja2 3.1.6 with Hugging Face's `tojson`.
  it.each([
    ["{% for m in messages %}[Round {{ loop.index0 // 2 }}] {% endfor %}", "[Round 0] [Round 0] [Round 1] "],
    ["{%- set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}", "3"],
    ["{{ messages | length - 1 }} {{ 7 // 2 }} {{ 7 % 3 }} {{ 7 / 2 }} {{ 2.0 }} {{ 1.5 * 2 }}", "2 3 1 3.5 2.0 3.0"],
    ["{{ messages[0].content | trim | upper }}{{ messages[-1]['content'] ~ 1 }}", "QUESTION 0answer 2 1"],
    ["{{ tools[0] | tojson }}", '{"name": "é<b>", "list": [1.5, true, null], "empty": [], "none": {}}'],
    [
      "{{ tools[0] | tojson(indent=2) }}",
      '{\n  "name": "é<b>",\n  "list": [\n    1.5,\n    true,\n    null\n  ],\n  "empty": [],\n  "none": {}\n}',
    ],
    ["{% if tools is defined and not x is defined %}\n  a\n  {%- endif %}\nb", "  ab"],
  ])("is rendered as by Jinja2: %j", async (chat_template, expected) => {
    const chat = ["question 0", "answer 1", "answer 2 "].map((content) => ({ role: "user", content }));
    const tools = [{ name: "é<b>", list: [1.5, true, null], empty: [], none: {} }];
    expect(await (await withTemplate(chat_template)).renderChat(chat, { tools })).toEqual([expected]);
  });

  it("renders what `caracal synth` writes as the Omni prompt does", async () => {
    const { model, config } = makeTokenizer(500, 4096);
    const tokenizer = await OmniTokenizer.from({ tokenizer: model as never, config: config as never });
    const chat = ["system", "user", "assistant", "user"].map((role, i) => ({ role, content: `${role} ${i}` }));
    const end = { control: "</longcat_s>" };
    expect(await tokenizer.renderChat(chat)).toEqual([
      "SYSTEM:system 0",
      end,
      "\nUSER:user 1\nASSISTANT:assistant 2",
      end,
      "\nUSER:user 3\nASSISTANT:",
    ]);
  });
});

it("a chat template takes turns with the event loop before it is searched, and before its process starts", async () => {
  const tokenizer = await withTemplate(template);
  expect(await turnsDuring(() => tokenizer.renderChat(messages))).toBe(2);
});

describe("a chat template that", () => {
  const slow = "{% for i in range(3000) %}{% for j in range(3000) %}{% endfor %}{% endfor %}";
  const large =
    "{% set ns = namespace(list=[]) %}{% for i in range(100000) %}{% set ns.list = ns.list + [i] %}{% endfor %}";
  it.each<[string, string | null, object, RegExp]>([
    ["is missing", null, {}, /no chat template/],
    ["is broken", "{% for", {}, /^x\/tokenizer\.json \(chat_template\.jinja, .*: the chat template fails: /],
    ["raises an exception", "{{ raise_exception('no system role') }}", {}, /the chat template fails: no system role/],
    ["takes too long", slow, { timeLimit: 20 }, /it takes longer than 20 ms \(timeLimit\)/],
    ["takes too much memory", large, { memoryLimit: 4 }, /it needs more than 4 MiB \(memoryLimit\)/],
    ["makes one value that is too large", "{% set a = range(2000000) %}", { memoryLimit: 8 }, /needs more than 8 MiB/],
    [
      "writes too much",
      "{% for i in range(17) %}{{ messages[0].content }}{% endfor %}",
      {},
      /it writes \d+ characters/,
    ],
  ])("%s fails, naming the file", async (_, chat_template, options, message) => {
    const tokenizer = await OmniTokenizer.from({
      tokenizer: tokenizerJson(),
      config: { ...tokenizerConfig, chat_template },
      source: "x/tokenizer.json",
    });
    const content = "x".repeat(2 ** 20);
    await expect(tokenizer.renderChat([{ role: "user", content }], {}, options)).rejects.toMatchObject({
      code: "CHECKPOINT_INVALID",
      message: expect.stringMatching(message),
    });
  });

  it("gets a long message full of beginnings of names renders it", async () => {
    const content = "<".repeat(8e6);
    const pieces = await (await withTemplate("{{ messages[0].content }}")).renderChat([{ role: "user", content }]);
    expect(pieces.length === 1 && pieces[0] === content).toBe(true);
  });

  it("is rendered many times at once takes four processes", async () => {
    const tokenizer = await withTemplate("{{ messages[0].content }}");
    const texts = Array.from({ length: 10 }, (_, i) => `text ${i}`);
    const processes = () => process.getActiveResourcesInfo().filter((name) => name === "ProcessWrap").length;
    await vi.waitFor(() => expect(processes()).toBe(0)); // those of other tests end
    const rendered = texts.map((content) => tokenizer.renderChat([{ role: "user", content }]));
    for (let turn = 0; turn < 5; turn++) await setImmediate(); // two pass before a process starts
    expect(processes()).toBe(4);
    expect(await Promise.all(rendered)).toEqual(texts.map((text) => [text]));
  });

  it.each([
    ["/missing/node", "MISSING_TOOL", /by a process of Node\.js, which cannot be started/],
    ["/", "IO_ERROR", /by a process of Node\.js, which cannot be started/],
    ["/bin/false", "CHECKPOINT_INVALID", /its process ended \(status 1\)/],
  ])("is to be rendered by %s fails with %s, and leaves its place to others", async (path, code, message) => {
    const tokenizer = await withTemplate("x");
    const { execPath } = process;
    process.execPath = path;
    const failed = await Promise.allSettled(Array.from({ length: 9 }, () => tokenizer.renderChat(messages)));
    process.execPath = execPath;
    const reason = expect.objectContaining({ code, message: expect.stringMatching(message) });
    expect(failed).toEqual(Array.from({ length: 9 }, () => ({ status: "rejected", reason })));
    expect(await tokenizer.renderChat(messages)).toEqual(["x"]);
  });

  it("is aborted ends", async () => {
    const controller = new AbortController();
    const rendered = (await withTemplate(slow)).renderChat(messages, {}, { signal: controller.signal });
    setTimeout(() => controller.abort("enough"), 10);
    await expect(rendered).rejects.toMatchObject({ code: "ABORTED", cause: "enough" });
    const late = (await withTemplate("x")).renderChat(messages, {}, { signal: controller.signal });
    await expect(late).rejects.toMatchObject({ code: "ABORTED" });
  });

  it("gets a variable that is no data is not rendered", async () => {
    const tokenizer = await withTemplate("x");
    const circle: Record<string, unknown> = {};
    circle.self = circle;
    let shared: object = { text: "abcdefgh" };
    for (let i = 0; i < 26; i++) shared = { a: shared, b: shared };
    const cases: [object, RegExp][] = [
      [circle, /take more than 1 MiB \(memoryLimit\), or contain themselves/],
      [{ shared }, /take more than 1 MiB/],
      [{ text: "x".repeat(2 ** 20) }, /take more than 1 MiB/],
      [{ list: new Array(2 ** 30) }, /take more than 1 MiB/],
      [{ deep: [new Float32Array(2 ** 20)] }, /must be plain data, but hold Float32Array of 4194304 bytes/],
    ];
    for (const [variables, message] of cases) {
      const rendered = tokenizer.renderChat(messages, { ...variables }, { memoryLimit: 1 });
      await expect(rendered).rejects.toThrow(
        expect.objectContaining({ code: "INVALID_ARGUMENT", message: expect.stringMatching(message) }),
      );
    }
    for (const json of [undefined, null, "text", 5, []]) {
      const variables = { toJSON: () => json } as never;
      await expect(tokenizer.renderChat(messages, variables)).rejects.toMatchObject({
        code: "INVALID_ARGUMENT",
        message: expect.stringMatching(/must be plain data, but their toJSON gives /),
      });
    }
  });

  it("has unknown options or limits out of range is refused", async () => {
    const tokenizer = await withTemplate("x");
    const render = (options: object) => tokenizer.renderChat(messages, {}, options);
    await expect(render({ time: 1 })).rejects.toThrow(/no option "time"/);
    for (const options of [{ timeLimit: 0 }, { memoryLimit: Number.NaN }, { timeLimit: "1" }, { memoryLimit: 2 ** 31 }])
      await expect(render(options)).rejects.toMatchObject({
        code: "INVALID_ARGUMENT",
        message: expect.stringMatching(/Limit must be a number above 0 and below 2\^31, got /),
      });
  });
});
