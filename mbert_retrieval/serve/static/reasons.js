// Why a passage has its score: legs, matching tokens and words, and a heat map of token scores.

import { element } from "./text.js";
import { heatMap, warmth } from "./heatmap.js";

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

function matched(match) {
  if (match.part === "title") return `${match.text} in the title`;
  return match.line ? `${match.text}:${match.line}` : match.text;
}

function tokens(matches, repaint) {
  const { table } = matches;
  const averages = table.scores.map((row) => row.reduce((sum, score) => sum + score, 0) / row.length);
  const heatOf = (token) => table.spans.map(([start, end], column) =>
    [start, end, warmth(table.scores[token][column], averages[token])]).filter(([, , heat]) => heat > 0.08);
  const pairs = element("div", { class: "pairs" });
  const map = section("Heat map: tokens of the query against tokens of the text");
  let chosen = null, everything = false;
  const choose = (token) => {
    if (token === undefined) return;
    chosen = chosen === token ? null : token;
    if (chosen === null) repaint(matches.marks, "mark");
    else repaint(heatOf(chosen), "span");
    for (const button of pairs.children) button.setAttribute("aria-pressed", Number(button.value) === chosen);
  };
  const pair = (row) => {
    const match = matches.tokens[row];
    return element("button", { type: "button", class: "pair", value: row, "aria-pressed": row === chosen,
      "--warmth": match.part === null ? 0 : warmth(match.score, averages[row]),
      title: "Colour the text by this token", onclick: () => choose(row) },
    element("b", {}, match.query), element("span", {}, `${matched(match)} ${match.score.toFixed(2)}`));
  };
  // special tokens, stop words and punctuation are folded away, unless there is nothing else
  const content = table.query.map((_, row) => row).filter((row) => table.query_content[row]);
  const folded = table.query_content.filter((is) => !is).length + table.text_content.filter((is) => !is).length;
  if (!content.length || !table.text_content.some(Boolean)) everything = true;
  const fill = () => {
    const rows = everything ? table.query.map((_, row) => row) : content;
    pairs.replaceChildren(...rows.map(pair));
    map.replaceChildren(map.firstChild, ...heatMap(matches, rows, averages, everything, choose).filter(Boolean));
  };
  const unfold = element("input", { type: "checkbox",
    onchange: () => { everything = unfold.checked; fill(); } });
  unfold.checked = everything;
  fill();
  return [
    section("Each token of the query and its best match", pairs,
      element("p", { class: "hint" }, "Press a token to colour the text above by its scores.")),
    map,
    folded ? element("label", { class: "unfold" }, unfold,
      ` also special tokens, stop words and punctuation (${folded.toLocaleString("en")})`) : null,
  ].filter(Boolean);
}
