// Text as elements: lines, syntax colours, and heat over the spans that answer.

const HASH = new Set(["python", "ruby", "bash", "shell", "yaml", "toml", "r", "perl", "make",
  "makefile", "dockerfile", "elixir", "cmake", "julia", "cython"]);
const DASH = new Set(["sql", "lua", "haskell", "elm", "ada"]);
const PROSE = new Set(["", "text", "markdown", "restructuredtext", "html", "csv", "pdf"]);
const WORDS = new Set(`abstract and as assert async await begin break case catch class const continue
  def default defer del delete do elif else elsif end enum except export extends false final finally
  fn for from func function global go if impl implements import in include instanceof interface is
  lambda let local loop match mod module mut namespace new nil None nonlocal not null None or package
  pass private protected pub public raise ref rescue return select self Self static struct super
  switch template then this throw trait True False true try type typedef typeof union unless unsafe
  use using val var virtual void when where while with yield`.split(/\s+/));
const QUOTED = String.raw`"""[\s\S]*?(?:"""|$)|'''[\s\S]*?(?:'''|$)|"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?`;
const COMMENTS = { hash: String.raw`#.*`, dash: String.raw`--.*`,
  slash: String.raw`\/\/.*|\/\*[\s\S]*?(?:\*\/|$)` };

export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key === "class") made.className = value;
    else if (key.startsWith("--")) made.style.setProperty(key, value);
    else if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== undefined && value !== null) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

// The CSS class of each character.
function syntax(text, language) {
  const classes = new Array(text.length).fill("");
  if (PROSE.has(language)) return classes;
  const family = HASH.has(language) ? "hash" : DASH.has(language) ? "dash" : "slash";
  const token = new RegExp(
    `(${COMMENTS[family]})|(${QUOTED})|(\\b\\d[\\w.]*)|(\\b[A-Za-z_]\\w*)`, "g");
  for (const match of text.matchAll(token)) {
    const kind = match[1] !== undefined ? "c" : match[2] !== undefined ? "s"
      : match[3] !== undefined ? "n" : WORDS.has(match[4]) ? "w" : "";
    if (kind) classes.fill(kind, match.index, match.index + match[0].length);
  }
  return classes;
}

// marks: [start, end, heat] in code points, as Python counts; texts here count UTF-16 units
export function toUnits(text, marks) {
  if (!/[\ud800-\udbff]/.test(text)) return marks;
  const offsets = [];
  let unit = 0;
  for (const point of text) { offsets.push(unit); unit += point.length; }
  offsets.push(unit);
  return marks.map(([start, end, heat]) => [offsets[start], offsets[end], heat]);
}

function spans(text, from, to, classes, heats, name) {
  const line = element("span");
  for (let start = from; start < to;) {
    let end = start + 1;
    while (end < to && classes[end] === classes[start] && heats[end] === heats[start]) end++;
    const piece = text.slice(start, end);
    const inner = classes[start] ? element("span", { class: classes[start] }, piece) : piece;
    line.append(heats[start] === undefined ? inner
      : element(name, { class: "heat", "--warmth": heats[start].heat }, inner));
    start = end;
  }
  return line;
}

// The rows of a passage: one element per line.
export function rows(passage, marks, name = "mark") {
  const text = passage.text;
  const classes = syntax(text, String(passage.metadata?.language ?? ""));
  const heats = new Array(text.length);
  for (const [start, end, heat] of toUnits(text, marks)) heats.fill({ heat }, start, end);
  const made = [];
  let start = 0;
  for (const line of text.split("\n")) {
    const number = passage.start_line === null ? "" : passage.start_line + made.length;
    made.push(element("div", { class: "row", "data-line": number },
      spans(text, start, start + line.length, classes, heats, name)));
    start += line.length + 1;
  }
  return made;
}

export function prose(passage, marks, name = "mark") {
  const text = passage.text;
  const heats = new Array(text.length);
  for (const [start, end, heat] of toUnits(text, marks)) heats.fill({ heat }, start, end);
  const none = new Array(text.length).fill("");
  return element("div", { class: "prose" }, spans(text, 0, text.length, none, heats, name));
}

// The index of the first of `height` lines with the most distinct answering words.
export function bestWindow(text, marks, height) {
  const lines = text.split("\n");
  const answering = lines.map(() => new Map());
  const starts = [];
  let begin = 0;
  for (const line of lines) { starts.push(begin); begin += line.length + 1; }
  let line = 0;
  for (const [start, end, heat] of toUnits(text, marks)) {
    while (line + 1 < starts.length && starts[line + 1] <= start) line++;
    const word = text.slice(start, end).toLowerCase();
    answering[line].set(word, Math.max(heat, answering[line].get(word) ?? 0));
  }
  let best = 0, most = -1;
  for (let first = 0; first <= Math.max(0, lines.length - height); first++) {
    const words = new Map();
    for (const each of answering.slice(first, first + height)) {
      for (const [word, heat] of each) words.set(word, Math.max(heat, words.get(word) ?? 0));
    }
    const worth = [...words.values()].reduce((sum, heat) => sum + heat, 0);
    if (worth > most + 1e-9) { best = first; most = worth; }
  }
  return best;
}
