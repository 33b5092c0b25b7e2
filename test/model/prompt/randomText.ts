const alphabets = [
  "the caracal listens and answers in a voice of its own, again and again ",
  "It's isn'T we'LL '",
  "0123456789٣۴४４²½Ⅷ",
  " \n\r\t\u00A0\u3000\u0085\u2028",
  "，。！？《》「」“”…【】～",
  "汉字中文测试한국어ひらがなカタカナ",
  "éüñßø🙂🏳️‍🌈𝒜عربيहिन्दीไทยქართულიܫܠܡܐ𠀀𐍈",
  "!@#$%^&*()_+-=[]{}|;:,./?~`<>",
  "\0\u0001\u007F\u00AD\uFEFF\uFFFE\uD800\uDFFF",
].map((alphabet) => Array.from(alphabet));

/** Random text: runs of characters of an alphabet that changes now and then. */
export function randomText(random: () => number): string {
  const below = (n: number) => Math.floor(((random() + 1) / 2) * n);
  let alphabet = alphabets[0]!;
  let text = "";
  for (let n = 1 + below(60); n > 0; n--) {
    if (below(4) === 0) alphabet = alphabets[below(alphabets.length)]!;
    text += alphabet[below(alphabet.length)]!.repeat(below(12) === 0 ? below(40) : 1);
  }
  return text;
}
