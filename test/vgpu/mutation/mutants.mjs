// Mutants of C++ sources: copies with one small fault each, in computations rather than in tables and decoders. The
// sources must be formatted: a binary operator has spaces around it; others belong to templates, pointers or references.

const token =
  /\/\/[^\n]*|\/\*[\s\S]*?\*\/|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])+'|^[ \t]*#[^\n]*|[A-Za-z_]\w*|(?:0x[\da-fA-F'.]+(?:p[+-]?\d+)?|\d[\d'.]*(?:e[+-]?\d+)?)\w*|<<=|>>=|->|\+\+|--|::|&&|\|\||[-+*/%&|^!=<>]=|<<|>>|\S/gm;

/** The tokens of a source with their offsets, without comments and preprocessor lines. */
function tokenise(source) {
  const tokens = [...source.matchAll(token)].map((m) => ({ text: m[0], at: m.index }));
  return tokens.filter(({ text }) => !/^(\/\/|\/\*|\s*#)/.test(text));
}

const isName = (text) => /^[A-Za-z_]/.test(text ?? "");

/** The index of the bracket that matches the one at `open`. */
function closing(tokens, open) {
  const pairs = { "{": "}", "(": ")" };
  const [begin, end] = [tokens[open].text, pairs[tokens[open].text]];
  let depth = 0;
  for (let i = open; i < tokens.length; i++) {
    if (tokens[i].text === begin) depth++;
    if (tokens[i].text === end && --depth === 0) return i;
  }
  throw new Error(`unbalanced ${begin}`);
}

/** The functions and structs of namespaces: name, whether they compute, and first and last token of the body. */
function definitions(tokens) {
  const found = [];
  let head = [];
  for (let i = 0; i < tokens.length; i++) {
    const { text } = tokens[i];
    if (text === ";" || text === "}") head = [];
    else if (text !== "{") head.push(text);
    else if (head.includes("namespace")) head = [];
    else {
      const end = closing(tokens, i);
      found.push({ ...described(head), first: i + 1, last: end - 1 });
      i = end;
      head = [];
    }
  }
  return found;
}

/** Interprets the tokens before a brace. `Handler x(…)`, `… x(Decoding& i)` and initialisers compute nothing. */
function described(head) {
  const parenthesis = head.findIndex((text, i) => text === "(" && isName(head[i - 1]));
  const struct = head.findLastIndex((text) => text === "struct" || text === "class");
  if (parenthesis < 0) return { name: head[struct + 1], computes: struct >= 0 && !head.includes("enum") };
  const chooses = head[parenthesis - 2] === "Handler" || head.includes("Decoding") || head.includes("span");
  return { name: head[parenthesis - 1], computes: !chooses };
}

const swapped = {
  "+": "-", "-": "+", "*": "+", "/": "*", "%": "*", "<<": ">>", ">>": "<<", "&": "|", "|": "&", "^": "&",
  "<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "==", "&&": "||", "||": "&&",
  "+=": "-=", "-=": "+=", "|=": "&=", "&=": "|=", "^=": "|=", "<<=": ">>=", ">>=": "<<=", "?": "== false ?",
}; // biome-ignore format: a table
const otherName = { true: "false", false: "true", min: "max", max: "min", fmin: "fmax", fmax: "fmin" };
const afterOperand = /^[\w)\]]/;

/** The replacement of a token; undefined if there is none. */
function replacement(source, tokens, i) {
  const { text, at } = tokens[i];
  const spaced = /\s/.test(source[at - 1]) && /\s/.test(source[at + text.length]);
  if (swapped[text] && spaced) return swapped[text];
  const operand = afterOperand.test(tokens[i - 1].text) && tokens[i - 1].text !== "return";
  if ((text === "!" || text === "~" || text === "-") && !operand) return "";
  if (/^\d/.test(text)) return `(${text} + 1)`;
  if (text === "l" && tokens[i - 1].text === "[" && tokens[i + 1].text === "]") return "l ^ 1";
  return otherName[text];
}

/** The index of the semicolon that ends the statement at `i`; -1 if a bracket closes first. */
function statementEnd(tokens, i) {
  let depth = 0;
  for (let k = i; k < tokens.length; k++) {
    if (/^[({[]$/.test(tokens[k].text)) depth++;
    if (/^[)}\]]$/.test(tokens[k].text) && --depth < 0) return -1;
    if (tokens[k].text === ";" && depth === 0) return k;
  }
  return -1;
}

/** The end of the statement at `i` if it can be omitted: it has an effect and is not a declaration. Otherwise -1. */
function droppable(tokens, i) {
  const [before, first, second] = [tokens[i - 1], tokens[i], tokens[i + 1]].map((t) => t?.text);
  if (!/^[;{})]$|^else$/.test(before) || !isName(first)) return -1;
  if (/^(return|case|using|static_assert|break|continue|else|if|for|while|switch|sizeof)$/.test(first)) return -1;
  if (first !== "throw" && !/^([.([=]|->|::|[-+|&^]=|<<=|>>=)$/.test(second)) return -1;
  return statementEnd(tokens, i);
}

/** All mutants of a source: definition, line, change, and the whole text. */
export function mutantsOf(source) {
  const tokens = tokenise(source);
  const all = [];
  for (const { name, computes, first, last } of definitions(tokens)) {
    if (!computes) continue;
    const add = (at, from, to) => {
      const line = source.slice(0, at).split("\n").length;
      const text = source.slice(0, at) + to + source.slice(at + from.length);
      all.push({ name, line, change: `${from.replace(/\s+/g, " ")} → ${to || "nothing"}`, text });
    };
    for (let i = first; i <= last; i++) {
      const { text, at } = tokens[i];
      const to = replacement(source, tokens, i);
      if (to !== undefined) add(at, text, to);
      if (text === "if") {
        const open = i + (tokens[i + 1].text === "constexpr" ? 2 : 1);
        const condition = source.slice(tokens[open].at, tokens[closing(tokens, open)].at + 1);
        add(tokens[open].at, condition, `(!${condition})`);
      }
      const end = droppable(tokens, i);
      if (end >= 0) add(at, source.slice(at, tokens[end].at), "");
      const returned = text === "return" ? source.slice(at, tokens[statementEnd(tokens, i)].at) : "return";
      if (!/^return( (0|false|nullptr|\w+\{0?\}))?$/.test(returned)) add(at, returned, "return {}");
    }
  }
  return all;
}

/** The opcodes in the chapter's table that lead to none of the definitions in `names`. */
export function opcodesWithout(source, names) {
  const tokens = tokenise(source);
  const uses = new Map();
  for (const { name, first, last } of definitions(tokens)) {
    const used = uses.get(name) ?? new Set();
    for (const t of tokens.slice(first, last + 1)) used.add(t.text);
    uses.set(name, used);
  }
  const reaches = (name, seen = new Set()) => {
    if (seen.has(name) || !uses.has(name)) return false;
    seen.add(name);
    return names.has(name) || [...uses.get(name)].some((n) => reaches(n, seen));
  };
  const table = source.slice(source.indexOf("Opcode table[] = {"));
  const entries = [...table.matchAll(/\{"(\w+)", ([^{}]+)\}/g)];
  return entries.filter(([, , decoder]) => !decoder.match(/\w+/g).some((n) => reaches(n))).map(([, opcode]) => opcode);
}
