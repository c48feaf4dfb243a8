// Why a passage has its score: legs, matching tokens and words, and a heat map of all token scores.

import { element, prose, rows } from "./text.js";

const CELL = 16; // height in pixels of a query token

// explained: answer of /api/explain. repaint(marks, name): colours the text of the passage.
export function reasons(explained, repaint) {
  const { matches } = explained;
  const panel = element("div", { class: "reasons" });
  panel.append(legs(matches.legs));
  if (matches.table && matches.table.spans.length) panel.append(...tokens(matches, repaint));
  if (matches.words.length) panel.append(words(matches.words));
  return panel;
}

function section(title, ...content) {
  return element("section", {}, element("h3", {}, title), ...content);
}

function legs(contributions) {
  const most = Math.max(...contributions.map((leg) => leg.share), 1e-9);
  const grid = element("div", { class: "legs" });
  for (const leg of contributions) {
    const rank = leg.rank === null ? "not ranked" : `rank ${leg.rank}`;
    const score = leg.score === null ? "" : ` · score ${leg.score.toPrecision(4)}`;
    grid.append(
      element("span", {}, { late: "late interaction", dense: "dense", lexical: "BM25" }[leg.leg] ?? leg.leg),
      element("div", { class: `bar ${leg.leg}` }, element("i", { "--part": Math.max(0, leg.share) / most })),
      element("code", {}, `${rank}${score} · adds ${leg.share.toPrecision(3)}`));
  }
  return section("Contribution of each leg", grid);
}

function words(matches) {
  return section("Words (BM25)", element("div", { class: "words" },
    ...matches.map((word) => element("div", {}, `${word.word} `, element("span", {}, word.score.toFixed(2))))));
}

function warmth(score, usual) {
  return Math.min(1, Math.max(0, (score - usual) / (1 - Math.min(usual, 0.99))));
}

function tokens(matches, repaint) {
  const { table } = matches;
  const means = table.scores.map((row) => row.reduce((sum, score) => sum + score, 0) / row.length);
  const heatOf = (token) => table.spans.map(([start, end], column) =>
    [start, end, warmth(table.scores[token][column], means[token])]).filter(([, , heat]) => heat > 0.08);
  let chosen = null;
  const choose = (token) => {
    chosen = chosen === token ? null : token;
    buttons.forEach((button, row) => button.setAttribute("aria-pressed", row === chosen));
    if (chosen === null) repaint(matches.marks, "mark");
    else repaint(heatOf(chosen), "span");
  };
  const buttons = matches.tokens.map((match, row) => element("button", {
    type: "button", class: `pair${table.telling[row] ? "" : " aside"}`, "aria-pressed": "false",
    "--warmth": match.part === null ? 0 : warmth(match.score, means[row]),
    title: "Colour the text by this token", onclick: () => choose(row),
  }, element("b", {}, match.query), element("span", {}, `${matched(match)} ${match.score.toFixed(2)}`)));
  return [
    section("Each token of the query and its best match", element("div", { class: "pairs" }, ...buttons),
      element("p", { class: "hint" }, "Press a token to colour the text above by its scores.")),
    section("Heat map: tokens of the query against tokens of the text", ...map(matches, means, choose)),
  ];
}

function matched(match) {
  if (match.part === "title") return `${match.text} in the title`;
  return match.line ? `${match.text}:${match.line}` : match.text;
}

function map(matches, means, choose) {
  const { table } = matches;
  const wide = Math.max(3, Math.min(16, Math.floor(760 / table.spans.length)));
  const canvas = element("canvas", { width: table.spans.length * wide, height: table.query.length * CELL });
  const tip = element("p", { class: "hint tip" }, "\u00a0");
  const paint = () => {
    const brush = canvas.getContext("2d");
    const hue = getComputedStyle(canvas).getPropertyValue("--heat");
    brush.clearRect(0, 0, canvas.width, canvas.height);
    table.scores.forEach((row, y) => row.forEach((score, x) => {
      brush.fillStyle = `rgb(${hue} / ${0.05 + 0.95 * warmth(score, means[y]) ** 1.3})`;
      brush.fillRect(x * wide, y * CELL, wide - (wide > 4 ? 1 : 0), CELL - 1);
    }));
  };
  requestAnimationFrame(paint);
  new MutationObserver(paint).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  const at = (event) => [Math.floor(event.offsetX / wide), Math.floor(event.offsetY / CELL)];
  canvas.addEventListener("mousemove", (event) => {
    const [x, y] = at(event);
    if (table.scores[y]?.[x] === undefined) return;
    const [start, end] = table.spans[x];
    const text = [...matches.text].slice(start, end).join("");
    tip.textContent = `${table.query[y]} · ${text}   ${table.scores[y][x].toFixed(2)}`;
  });
  canvas.addEventListener("click", (event) => { choose(at(event)[1]); });
  const names = element("div", { class: "names" },
    ...table.query.map((name) => element("div", { title: name }, name)));
  return [element("div", { class: "grid" }, names, element("div", { class: "map" }, canvas)), tip];
}

export { prose, rows };
