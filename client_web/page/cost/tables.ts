/** The answers as tables, whose bars are for the eye alone. */

import { element } from "../elements.js";
import type { Answers } from "./arithmetic.js";
import type { Name } from "./figures.js";
import type { Measure } from "./measures.js";
import { type Scale, scaleOf } from "./scale.js";
import { exactBytes, seconds, bytes as sized } from "./words.js";

/** One measure of all ways: title, table with bars, and how it is computed. */
export function measured(answers: Answers, measure: Measure): HTMLElement {
  const { id, title, about, columns, formula } = measure;
  const ways = Object.keys(answers.figures.ways);
  const scale = scaleOf(shown(ways, measure), measure.isLogarithmic);
  const isStarred = (way: Name) => measure.isOfLink && answers.times(way).isComputed;
  const rows = ways.map((way) => {
    const cells = columns.map(({ value, told }) => {
      const found = value(way);
      return cell(found === null ? "as JPEG" : told(found));
    });
    const star = isStarred(way) ? element("span", {}, "*") : "";
    if (star !== "") star.append(element("span", { class: "hidden" }, " computed, not measured"));
    return row(answers, way, [bar(measure, scale, way), ...cells], star);
  });
  const heads = columns.map(({ head }) =>
    element("th", { scope: "col", role: "columnheader" }, head),
  );
  const table = tableOf(title, [axis(measure, scale), ...heads], rows);
  const starred = ways.some(isStarred)
    ? [element("p", { class: "quiet" }, "* computed from bytes and link, not measured")]
    : [];
  return element(
    "section",
    { class: "measure", id },
    element("h3", {}, title),
    element("p", { class: "quiet" }, about),
    table,
    ...starred,
    working(formula, [answers.setup.tokens, rivalOf(answers)], answers, measure.worked),
  );
}

/** The way that is worked out beside tokens: the one that they are held against. */
function rivalOf({ setup }: Answers): Name {
  return setup.against === "best" ? "jpeg_8" : setup.against;
}

/** After how many pictures the download of each tier has paid, against each way of pictures. */
export function payment(answers: Answers): HTMLElement {
  const { figures, setup } = answers;
  const ways = Object.keys(figures.ways);
  const tokens = ways.filter((way) => answers.isTokens(way));
  const rows = ways
    .filter((way) => !answers.isTokens(way))
    .map((way) => {
      const cells = tokens.map((each) => {
        const paid = answers.paidAfter(each, way);
        const text = paid === null ? "never" : exactBytes(paid);
        const isPaid = paid !== null && paid <= setup.pictures;
        return cell(isPaid ? element("b", {}, `${text} ✓`) : text);
      });
      return row(answers, way, cells);
    });
  const heads = tokens.map((way) =>
    element("th", { scope: "col", role: "columnheader" }, figures.ways[way].tier),
  );
  const downloads = tokens.map((way) => {
    const { bytes, seconds: time } = answers.download(way);
    const duration = time > 0 ? `, ${seconds(time)}` : "";
    return `${figures.ways[way].tier} ${sized(bytes)}${duration}`;
  });
  const within = `within the ${exactBytes(setup.pictures)} of a ${setup.per}`;
  return element(
    "section",
    { class: "measure", id: "paid" },
    element("h3", {}, "When the decoder's download has paid"),
    element(
      "p",
      { class: "quiet" },
      `Pictures until tokens, all downloads counted, have moved fewer bytes than the way in the ` +
        `row; ✓ is ${within}. Downloads: ${downloads.join("; ")}.`,
    ),
    tableOf("Pictures until the download has paid, by tier of tokens", heads, rows),
    working(
      "download ÷ (bytes of the other way − bytes of tokens), rounded up",
      tokens,
      answers,
      (way) => {
        const rival = rivalOf(answers);
        const [mine, other] = [answers.work(way).bytes, answers.work(rival).bytes];
        return (
          `${exactBytes(answers.download(way).bytes)} ÷ (${exactBytes(other)} − ` +
          `${exactBytes(mine)}) = ${answers.paidAfter(way, rival) ?? "never"}, against ${figures.ways[rival].label}`
        );
      },
    ),
  );
}

function shown(ways: readonly Name[], { columns, bar, beyond }: Measure): number[] {
  const drawn = beyond === undefined ? [columns[bar]] : [columns[bar], columns[beyond]];
  return ways.flatMap((way) => drawn.map(({ value }) => value(way) ?? 0));
}

/** Roles are told: as a grid, on a narrow screen, it would be no table any more. */
function tableOf(caption: string, heads: HTMLElement[], rows: HTMLElement[]): HTMLElement {
  const way = element("th", { scope: "col", role: "columnheader" }, "way");
  return element(
    "table",
    { role: "table", style: `--columns: ${rows[0].querySelectorAll("td:not(.bars)").length}` },
    element("caption", { class: "hidden" }, caption),
    element("thead", { role: "rowgroup" }, element("tr", { role: "row" }, way, ...heads)),
    element("tbody", { role: "rowgroup" }, ...rows),
  );
}

function row(answers: Answers, way: Name, cells: HTMLElement[], mark: Node | string = "") {
  const head = element("th", { scope: "row", role: "rowheader" }, answers.figures.ways[way].label);
  head.append(mark);
  const kind = answers.isTokens(way) ? "by-tokens" : "by-pictures";
  const isChosen = way === answers.setup.tokens;
  return element("tr", { role: "row", class: isChosen ? `${kind} chosen` : kind }, head, ...cells);
}

function cell(content: Node | string): HTMLElement {
  return element("td", { role: "cell" }, content);
}

/** What the bars' ends stand for. */
function axis({ columns, bar }: Measure, { low, high }: Scale): HTMLElement {
  const { told } = columns[bar];
  const ends = [low, high].map((value) => element("span", {}, told(value)));
  return element("td", { role: "presentation", "aria-hidden": "true", class: "axis" }, ...ends);
}

function bar({ columns, bar: main, beyond }: Measure, scale: Scale, way: Name): HTMLElement {
  const percent = (column: number) => 100 * scale.length(columns[column].value(way) ?? 0);
  const isKnown = columns[main].value(way) !== null;
  const [end, farther] = [percent(main), beyond === undefined ? 0 : percent(beyond)];
  const parts = isKnown ? [element("i", { style: `width: ${end.toFixed(1)}%` })] : [];
  if (farther > end) {
    const style = `left: ${end.toFixed(1)}%; width: ${(farther - end).toFixed(1)}%`;
    parts.push(element("i", { class: "beyond", style }));
  }
  const attributes = { role: "presentation", "aria-hidden": "true", class: "bars" };
  return element("td", attributes, element("div", { style: `--steps: ${scale.steps}` }, ...parts));
}

function working(
  formula: string,
  ways: readonly Name[],
  answers: Answers,
  worked: ((way: Name) => string) | undefined,
): HTMLElement {
  const lines = (worked === undefined ? [] : ways).map((way) =>
    element("li", {}, `${answers.figures.ways[way].label}: ${worked?.(way)}`),
  );
  return element(
    "details",
    {},
    element("summary", {}, "How it is computed"),
    element("p", {}, formula),
    ...(lines.length > 0 ? [element("ul", {}, ...lines)] : []),
  );
}
