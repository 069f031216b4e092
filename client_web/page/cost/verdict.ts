/** Where tokens win and where they lose, in words. */

import type { Answers } from "./arithmetic.js";
import type { Name } from "./figures.js";
import { type Measure, measures } from "./measures.js";
import { bytes, capital, decibels, exactBytes, many, milliseconds, seconds } from "./words.js";

export type Outcome = "lose" | "even" | "win";

export interface Finding {
  readonly outcome: Outcome;
  /** What was held against each other. */
  readonly what: string;
  readonly text: string;
}

export interface Verdict {
  readonly findings: readonly Finding[];
  readonly headline: string;
}

const ORDER: readonly Outcome[] = ["lose", "even", "win"];

export function verdict(answers: Answers): Verdict {
  const all = measures(answers).flatMap((measure) =>
    measure.judged.flatMap(({ column, what }) => finding(answers, measure, column, what)),
  );
  const findings = all.sort((a, b) => ORDER.indexOf(a.outcome) - ORDER.indexOf(b.outcome));
  const of = (outcome: Outcome) => findings.filter((each) => each.outcome === outcome).length;
  const { ways } = answers.figures;
  const { tokens, against } = answers.setup;
  const even = of("even") > 0 ? `, and are too close to call in ${of("even")}` : "";
  const other =
    against === "best" ? "the best of all ways that send pictures" : ways[against].label;
  return {
    findings,
    headline:
      `${capital(ways[tokens].label)}: they lose in ${of("lose")} of ${findings.length} counts, ` +
      `win in ${of("win")}${even}, each held against ${other}.`,
  };
}

/** Tokens against one way that sends pictures; nothing where that way has no such figure. */
function finding(answers: Answers, measure: Measure, column: number, what: string): Finding[] {
  const { value, told } = measure.columns[column];
  const mine = value(answers.setup.tokens);
  const rival = best(answers, measure, column);
  if (mine === null || rival === undefined) return [];
  const [way, theirs] = rival;
  const outcome = outcomeOf(mine, theirs, measure);
  const { label, isForming } = answers.figures.ways[way];
  const blind = isForming ? "" : ", which shows nothing before the last row";
  const more = remark(answers, measure, column, way, outcome);
  const isComputed = measure.isOfLink && answers.times(way).isComputed;
  const how = isComputed ? " (computed, not measured)" : "";
  const text = `Tokens: ${told(mine)}. ${capital(label)}${blind}: ${told(theirs)}${how}.${more}`;
  return [{ outcome, what, text }];
}

function best(
  answers: Answers,
  { columns, wins }: Measure,
  column: number,
): [way: Name, value: number] | undefined {
  const { against } = answers.setup;
  const found = Object.keys(answers.figures.ways).flatMap((way): [Name, number][] => {
    const value = columns[column].value(way);
    const isRival = against === "best" ? !answers.isTokens(way) : way === against;
    return isRival && value !== null ? [[way, value]] : [];
  });
  const sign = wins === "less" ? 1 : -1;
  return found.sort((one, other) => sign * (one[1] - other[1]))[0];
}

/** Even where the two are as near as one is to itself, measured again. */
export function outcomeOf(mine: number, theirs: number, { wins, blur }: Measure): Outcome {
  const [less, more] = mine < theirs ? [mine, theirs] : [theirs, mine];
  if (less === more || more <= less * (1 + blur / 100)) return "even";
  return mine < theirs === (wins === "less") ? "win" : "lose";
}

function remark(
  answers: Answers,
  { id }: Measure,
  column: number,
  other: Name,
  outcome: Outcome,
): string {
  const { tokens, pictures, per } = answers.setup;
  if (id === "bytes" && column === 2) {
    const paid = answers.paidAfter(tokens, other);
    if (paid === null) return " The download never pays against that.";
    const rounds = Math.ceil(paid / pictures);
    const when = rounds === 1 ? "" : `, in ${per} ${exactBytes(rounds)}`;
    const after = many(paid, "one picture", "pictures");
    return ` The download has paid against that after ${after}${when}.`;
  }
  if (id === "final") return likeness(answers, other) + leftOut(answers);
  if (id === "looks" && outcome === "lose") {
    return " Tokens with the full decoder are exact as well.";
  }
  return "";
}

/** Which of the two final pictures is the worse one. */
function likeness({ figures, setup }: Answers, other: Name): string {
  const [mine, theirs] = [setup.tokens, other].map((way) => figures.finalDecibels[way]);
  if (theirs === undefined || mine === theirs) return "";
  const [worse, lower, higher] =
    mine < theirs ? ["Tokens'", mine, theirs] : ["The latter's", theirs, mine];
  return ` ${worse} picture is the worse one: ${decibels(lower)}, the other ${decibels(higher)}.`;
}

function leftOut({ decodeLeftOut }: Answers): string {
  if (decodeLeftOut === 0) return "";
  return ` The server's decode, ${milliseconds(decodeLeftOut)} more, is not in the latter's time.`;
}

/** What a first visit waits for, and what the times leave out. */
export function cautions(answers: Answers): string[] {
  const { setup, figures, gallery } = answers;
  const told: string[] = [];
  const { parts, bytes: whole, seconds: time } = answers.download(setup.tokens);
  const names = parts.map(([what, size]) => `${what} ${bytes(size)}`).join(" + ");
  const duration = time > 0 ? `, ${seconds(time)} over this link with nothing beside it` : "";
  told.push(
    `A ${setup.per === "visit" ? "first visit" : "first month"} by tokens downloads ${names} = ` +
      `${bytes(whole)}${duration}. Times here are of viewers who have that.`,
  );
  if (!gallery.decodesInRun) {
    told.push(
      `Times of ways that send pictures leave out the server's decodes: ` +
        `${milliseconds(answers.decodeLeftOut)} each with this set-up. That flatters pictures.`,
    );
  }
  const { viewers, servers } = answers.sustained(setup.tokens);
  if (servers > 1) {
    told.push(
      `Times are of one viewer. One server sustains ${exactBytes(viewers)} by these tokens: ` +
        `${exactBytes(setup.viewers)} need ${exactBytes(servers)}.`,
    );
  }
  if (figures.links[setup.link].loss > 0) {
    told.push(
      "This link loses packets. Few pictures were sent over it: times differ by luck as well.",
    );
  }
  return told;
}
