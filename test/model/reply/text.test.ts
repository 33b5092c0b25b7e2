import { describe, expect, it } from "vitest";
import { ReplyText } from "../../../lib/model/reply/text.js";

describe("ReplyText", () => {
  const published = (text: string) =>
    text.replaceAll(".</pause>", ". ").replaceAll("</pause>", "").replaceAll("</longcat_s>", "").trim();
  const stream = (pieces: string[]) => {
    const reply = new ReplyText();
    return pieces.map((piece) => reply.push(piece)).join("") + reply.end();
  };

  it.each([
    ["Hello there.</pause>How are you?</pause> Fine.</longcat_s>", "Hello there. How are you? Fine."],
    ["  a  b \n</longcat_s>", "a  b"],
    [".</pause></pause>x", ". x"],
    ["</pause></longcat_s>", ""],
    ["a < b </p> </paus", "a < b </p> </paus"],
    ["1.</longcat_s></pause>2", "1.2"],
  ])("%j", (raw, expected) => {
    expect(published(raw)).toBe(expected);
    expect(stream([raw])).toBe(expected);
    expect(stream([...raw])).toBe(expected);
    for (let cut = 1; cut < raw.length; cut++) expect(stream([raw.slice(0, cut), raw.slice(cut)])).toBe(expected);
  });

  it("holds back no more text than necessary, and rolls back", () => {
    const reply = new ReplyText();
    expect(reply.push("Hello.")).toBe("Hello.");
    const snapshot = reply.snapshot();
    expect(reply.push("</pause>")).toBe("");
    expect(reply.push("Yes")).toBe(" Yes");
    reply.restore(snapshot);
    expect(reply.push("com")).toBe("com");
  });
});
