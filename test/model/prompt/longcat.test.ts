import { createRequire } from "node:module";
import { describe, expect, it } from "vitest";
import { OmniTokenizer } from "../../../lib/model/prompt/tokenizer.js";
import { uniform } from "../../support/numbers.js";
import { longcatTokenizerJson } from "./longcatVocabulary.mjs";
import { randomText } from "./randomText.js";

interface Library {
  encode(text: string, options: { add_special_tokens: boolean }): { ids: number[] };
}
const { Tokenizer } = createRequire(import.meta.url)("@huggingface/tokenizers") as {
  Tokenizer: new (json: object, config: object) => Library;
};

const json = longcatTokenizerJson();
const tokenizer = await OmniTokenizer.from({ tokenizer: json, config: { eos_token: "</longcat_s>" } });
const library = new Tokenizer(json, {});

/** Checks the ids of a text, and that they become the text again. */
async function check(text: string): Promise<void> {
  const ids = await tokenizer.encode(text);
  expect(ids, JSON.stringify(text)).toEqual(library.encode(text, { add_special_tokens: false }).ids);
  expect(await tokenizer.decode(ids)).toBe(Buffer.from(text).toString()); // half a pair becomes U+FFFD
}

/** The first article of the Universal Declaration of Human Rights, or a part of it. */
const languages = {
  Amharic: "የሰው ልጅ ሁሉ ሲወለድ ነጻና በክብርና በመብትም እኩልነት ያለው ነው።",
  Arabic: "يولد جميع الناس أحرارًا متساوين في الكرامة والحقوق.",
  Armenian: "Բոլոր մարդիկ ծնվում են ազատ ու հավասար իրենց արժանապատվությամբ ու իրավունքներով։",
  Bengali: "সমস্ত মানুষ স্বাধীনভাবে সমান মর্যাদা এবং অধিকার নিয়ে জন্মগ্রহণ করে।",
  Burmese: "လူတိုင်းသည် တူညီ လွတ်လပ်သော ဂုဏ်သိက္ခာဖြင့် လည်းကောင်း၊ မွေးဖွားလာသူများ ဖြစ်သည်။",
  Cherokee: "ᏂᎦᏓ ᎠᏂᏴᏫ ᏂᎨᎫᏓᎸᎾ ᎠᎴ ᎤᏂᏠᏱ ᎤᎾᏕᎿ ᏚᏳᎧᏛ ᎨᏒᎢ.",
  Chinese: "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。",
  Czech: "Všichni lidé rodí se svobodní a sobě rovní co do důstojnosti a práv.",
  English: "All human beings are born free and equal in dignity and rights; they aren't, we'LL say, IT'S.",
  Finnish: "Kaikki ihmiset syntyvät vapaina ja tasavertaisina arvoltaan ja oikeuksiltaan.",
  French: "Tous les êtres humains naissent libres et égaux en dignité et en droits : « l'œuvre ».",
  Georgian: "ყველა ადამიანი იბადება თავისუფალი და თანასწორი თავისი ღირსებითა და უფლებებით.",
  German: "Alle Menschen sind frei und gleich an Würde und Rechten geboren. STRAẞE, Straße.",
  Greek: "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα.",
  Gujarati: "પ્રતિષ્ઠા અને અધિકારોની દૃષ્ટિએ સર્વ માનવો જન્મથી સ્વતંત્ર અને સમાન હોય છે.",
  Hebrew: "כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם.",
  Hindi: "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है।",
  Japanese: "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。ﾊﾝｶｸ「カナ」",
  Kannada: "ಎಲ್ಲಾ ಮಾನವರೂ ಸ್ವತಂತ್ರರಾಗಿಯೇ ಜನಿಸಿದ್ದಾರೆ.",
  Khmer: "មនុស្សទាំងអស់ កើតមកមានសេរីភាព និងសមភាព ក្នុងផ្នែកសេចក្ដីថ្លៃថ្នូរនិងសិទ្ធិ។",
  Korean: "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.",
  Lao: "ມະນຸດທຸກຄົນເກີດມາມີກຽດສັກສີ, ສິດທິ, ເສລີພາບແລະຄວາມສະເໝີພາບເທົ່າທຽມກັນ.",
  Malayalam: "മനുഷ്യരെല്ലാവരും തുല്യാവകാശങ്ങളോടും അന്തസ്സോടും സ്വാതന്ത്ര്യത്തോടുംകൂടി ജനിച്ചിട്ടുള്ളവരാണ്‌.",
  Mongolian: "ᠬᠦᠮᠦᠨ ᠪᠦᠷ ᠲᠥᠷᠥᠵᠦ ᠮᠡᠨᠳᠡᠯᠡᠬᠦ ᠡᠷᠬᠡ ᠴᠢᠯᠥᠭᠡ ᠲᠡᠢ᠂",
  Polish: "Wszyscy ludzie rodzą się wolni i równi pod względem swej godności i swych praw.",
  Punjabi: "ਸਾਰਾ ਮਨੁੱਖੀ ਪਰਿਵਾਰ ਆਪਣੀ ਮਹਿਮਾ, ਸ਼ਾਨ ਅਤੇ ਹੱਕਾਂ ਦੇ ਪੱਖੋਂ ਜਨਮ ਤੋਂ ਹੀ ਆਜ਼ਾਦ ਹੈ।",
  Russian: "Все люди рождаются свободными и равными в своём достоинстве и правах.",
  Sinhala: "සියලු මනුෂ්‍යයෝ නිදහස්ව උපත ලබා ඇත.",
  Tamil: "மனிதப் பிறவியினர் சகலரும் சுதந்திரமாகவே பிறக்கின்றனர்.",
  Telugu: "ప్రతిపత్తిస్వత్వముల విషయమున మానవులెల్లరును జన్మతః స్వతంత్రులును సమానులును నగుదురు.",
  Thai: "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ",
  Tibetan: "འགྲོ་བ་མིའི་རིགས་རྒྱུད་ཡོངས་ལ་སྐྱེས་ཙམ་ཉིད་ནས་ཆེ་མཐོངས་དང༌།",
  Turkish: "Bütün insanlar hür, haysiyet ve haklar bakımından eşit doğarlar. İıI",
  Urdu: "تمام انسان آزاد اور حقوق و عزت کے اعتبار سے برابر پیدا ہوئے ہیں۔",
  Uyghur: "ھەممە ئادەم زانىدىنلا ئەركىن، ئىززەت-ھۆرمەت ۋە ھوقۇقتا باپباراۋەر بولۇپ تۇغۇلغان.",
  Vietnamese: "Tất cả mọi người sinh ra đều được tự do và bình đẳng về nhân phẩm và quyền lợi.",
  Yiddish: "יעדער מענטש װערט געבױרן פֿרײַ און גלײַך אין כּבֿוד און רעכט.",
};

const odd = [
  "",
  " ",
  "\n",
  "\r\n\r\n",
  "   x   ",
  "\t\tif (x) {\r\n\t\t\treturn  1;\r\n\t}\n\n\n",
  "\u3000\u3000段落\u3000",
  "a\u00A0b\u2009c\u200Bd\u2028e\u2029f\u0085g\uFEFFh",
  "e\u0301\u0302\u0303 Z\u0351\u036B\u0343\u036A\u0302\u036Ba\u0328\u030C",
  "👩‍👩‍👧‍👦🏳️‍🌈🇩🇪🇨🇳👍🏽🙂🙃🫠",
  "\uD83D\uDE42\uD83D \uDE42\uD83D\uD83D\uDE42\uDE42",
  "\uDC00\uD800",
  "\0\u0001\u001F\u007F\u0080\u009F\uFFFD\uFFFE\uFFFF\u{10FFFF}",
  "𝓗𝓮𝓵𝓵𝓸 ℌ𝔢𝔩𝔩𝔬 Ｈｅｌｌｏ ⓗⓔⓛⓛⓞ ʜᴇʟʟᴏ",
  "1234567890 ٠١٢٣٤٥٦٧٨٩ ०१२३४ ½⅓ Ⅳ ①②③ 一二三 1,000.00 1e-9 0xFF",
  "«»“”‘’‚„…—–‐‑ 《》「」『』【】〔〕〈〉、。，．！？；：（）［］",
  "don't DON'T don’t I'LL i'Ll we'VE 's 'S 'ſ 'd'm're ''' '",
  "http://example.com/?a=1&b=%20#frag C:\\x\\y.txt $HOME/.bashrc user@host",
  "<longcat> <|audio <|/audio <mask_ </longcat",
  "ſtraße ŒUVRE ǅ ﬁﬂﬃ ŉ Ω Å K",
  "ａｂｃ１２３ﾊﾝｶｸ",
  "\u202Eabc\u202C \u200Eltr\u200F rtl",
  "ᄒ\u1161ᆫ 한 하\u11AB",
  "𠀀𠮷𪛖丽",
  "i\u0307 İ ı",
  '{"key": [1, 2.5, null, true], "键": "值"}',
  "^_^ (╯°□°)╯︵ ┻━┻ ¯\\_(ツ)_/¯ ಠ_ಠ",
];

describe("with the vocabulary of LongCat-Flash, ids are those of @huggingface/tokenizers", () => {
  it.each(Object.entries(languages))("in %s", (_, text) => check(text));

  it("for odd strings, alone and between others", async () => {
    for (const text of odd) {
      await check(text);
      await check(`x${text} 的${text}\n`);
    }
  });

  it("for every character of Unicode", async () => {
    for (let block = 0; block < 0x110000; block += 0x400) {
      const points = Array.from({ length: 0x400 }, (_, i) => block + i);
      const text = String.fromCodePoint(...points);
      if (/^[\p{Cn}\p{Co}]*$/u.test(text)) continue; // planes without characters
      await check(text);
    }
  });

  it("for random text", async () => {
    const random = uniform(11);
    for (let i = 0; i < 2000; i++) await check(randomText(random));
  });

  it.each(["a", "ab", " ", "\n", "的", "的一是不了在人有", "🙂", "!", "\0", "0", "\uD800", "ก็", "e\u0301"])(
    "for a long run of %j",
    (unit) => check(unit.repeat(6000 / unit.length)),
  );

  it("wherever a long word is divided", async () => {
    const word = "的𠀀é🙂".repeat(2000).replaceAll("🙂", "");
    for (let shift = 0; shift < 8; shift++) await check("x".repeat(shift) + word);
  });
});
