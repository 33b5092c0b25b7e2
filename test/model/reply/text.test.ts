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

  describe("with stop strings", () => {
    const stopped = (pieces: string[], stops: string[]) => {
      const reply = new ReplyText(stops);
      return { text: pieces.map((piece) => reply.push(piece)).join("") + reply.end(), stop: reply.stopString };
    };

    it.each([
      ["Hello there. Bye.", ["there"], "Hello", "there"],
      ["Hello there. Bye.", ["Bye", "there", "x"], "Hello", "there"],
      ["Hello there. Bye.", [" there"], "Hello", " there"],
      ["Hello there. Bye.", ["thereby", "Hello thou"], "Hello there. Bye.", null],
      ["Hello the", ["there"], "Hello the", null],
      ["abcd", ["abcd", "bc"], "a", "bc"],
      ["abcd", ["bc", "abc"], "", "abc"],
      ["aab", ["ab"], "a", "ab"],
      ["a\n\nb", ["\n"], "a", "\n"],
      ["\n\n a \n", ["\n"], "a", "\n"],
      ["\n\n a \n ", ["\n\n"], "a", null],
      ["One.</pause>Two.</longcat_s>", [". Two"], "One", ". Two"],
      ["One.</pause>Two.</longcat_s>", ["</pause>", "</longcat_s>"], "One. Two.", null],
      ["a </paus", ["</paus"], "a", "</paus"],
      ["Zoë 🙂 x", ["🙂"], "Zoë", "🙂"],
    ])("%j with %j, however it arrives", (raw, stops, text, stop) => {
      expect(stopped([raw], stops)).toEqual({ text, stop });
      expect(stopped([...raw], stops)).toEqual({ text, stop });
      for (let cut = 1; cut < raw.length; cut++)
        expect(stopped([raw.slice(0, cut), raw.slice(cut)], stops)).toEqual({ text, stop });
    });

    it("ends at once where a stop string is complete, and holds back no more than may begin one", () => {
      const reply = new ReplyText(["###", "#!\n"]);
      expect(reply.push("a b#")).toBe("a b");
      expect(reply.push("c##")).toBe("#c");
      const snapshot = JSON.parse(JSON.stringify(reply.snapshot()));
      expect(reply.push("#d")).toBe("");
      expect(reply.stopString).toBe("###");
      expect(reply.push("e")).toBe("");
      expect(reply.end()).toBe("");
      reply.restore(snapshot);
      expect(reply.stopString).toBeNull();
      expect(reply.push("!")).toBe("#");
      expect(reply.end()).toBe("#!");
    });
  });
});
