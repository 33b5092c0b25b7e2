// What is written can be read: the contrasts that WCAG 2.2 asks for at level AA, in the light and in the dark.
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";

const style = readFileSync(new URL("../../page/style.css", import.meta.url), "utf8");
const [light, dark] = Array.from(style.matchAll(/:root \{([^}]*)\}/g), ([, block]) =>
  Object.fromEntries(Array.from(block!.matchAll(/--([\w-]+): (#[0-9a-f]{6});/g), ([, name, value]) => [name, value])),
) as [Record<string, string>, Record<string, string>];

function luminance(colour: string): number {
  const channels = [1, 3, 5].map((at) => Number.parseInt(colour.slice(at, at + 2), 16) / 255);
  const [r, g, b] = channels.map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r! + 0.7152 * g! + 0.0722 * b!;
}
function contrast(a: string, b: string): number {
  const [darker, brighter] = [luminance(a), luminance(b)].sort((x, y) => x - y) as [number, number];
  return (brighter + 0.05) / (darker + 0.05);
}

describe.each([
  ["light", light],
  ["dark", { ...light, ...dark }],
])("in the %s, the contrast", (_, colours) => {
  test.each([
    ["text", ["ground", "surface", "raised", "accent-soft"]],
    ["muted", ["ground", "surface", "raised", "accent-soft"]],
    ["accent", ["surface"]],
    ["on-accent", ["accent"]],
  ])("of %s is that of text", (name, backgrounds) => {
    for (const background of backgrounds)
      expect(contrast(colours[name]!, colours[background]!), background).toBeGreaterThanOrEqual(4.5);
  });

  test.each(["border", "accent"])("of %s is that of what shows a control or its focus", (name) => {
    for (const background of ["ground", "surface"])
      expect(contrast(colours[name]!, colours[background]!), background).toBeGreaterThanOrEqual(3);
  });
});
