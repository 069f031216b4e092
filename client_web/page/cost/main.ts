/** The calculator: what the reader sets, and the answers to it. */

import figures from "virtual:transport";
import { button, element, part } from "../elements.js";
import { offerThemes } from "../theme.js";
import { Answers } from "./arithmetic.js";
import { type Named, unpack } from "./figures.js";
import { measures } from "./measures.js";
import {
  bounded,
  choices,
  fromAddress,
  NUMBERS,
  type NumberName,
  type Setup,
  settled,
  toAddress,
} from "./setup.js";
import { measured, payment } from "./tables.js";
import { cautions, type Outcome, verdict } from "./verdict.js";
import { bytes, capital, exactBytes } from "./words.js";

const SAY_AFTER = 600; // milliseconds without another change
const OUTCOMES: Record<Outcome, string> = {
  lose: "Tokens lose",
  even: "Too close",
  win: "Tokens win",
};

class Calculator {
  private readonly all = unpack(figures);
  private readonly form = part<HTMLFormElement>("setup");
  private setup = fromAddress(this.all, location.search);
  private saying: ReturnType<typeof setTimeout> | undefined;
  private readonly opened = new Set<string>();

  constructor() {
    this.form.addEventListener("input", ({ target }) => this.change(target as HTMLInputElement));
    this.form.addEventListener("submit", (event) => event.preventDefault());
    part("again").addEventListener("click", () => this.begin(""));
    part("copy").addEventListener("click", () => void this.copy());
    this.fill();
    this.show();
  }

  private begin(query: string): void {
    this.setup = fromAddress(this.all, query);
    this.fill();
    this.keep();
    this.show();
  }

  private change(field: HTMLInputElement | HTMLSelectElement): void {
    const { name } = field;
    const value = name in NUMBERS ? bounded(name as NumberName, field.value) : field.value;
    this.mark(field, value !== undefined);
    if (value === undefined) return; // answers stay with the last number that can be
    this.setup = settled(this.all, { ...this.setup, [name]: value } as Setup);
    if (!(name in NUMBERS)) this.fill();
    this.keep();
    this.show();
    clearTimeout(this.saying);
    this.saying = setTimeout(() => this.say(verdict(this.answers).headline), SAY_AFTER);
  }

  /** Tell below a field which numbers it takes, while it holds another. */
  private mark(field: HTMLInputElement | HTMLSelectElement, isGood: boolean): void {
    field.parentElement?.querySelector("small")?.remove();
    if (isGood) {
      field.removeAttribute("aria-invalid");
      return;
    }
    const { low, high, isWhole } = NUMBERS[field.name as NumberName];
    const range = `${isWhole ? "a whole number, " : ""}${low} to ${exactBytes(high)}`;
    field.setAttribute("aria-invalid", "true");
    field.after(element("small", {}, range));
    clearTimeout(this.saying);
    this.saying = setTimeout(() => this.say(`This takes ${range}.`), SAY_AFTER);
  }

  private get answers(): Answers {
    return new Answers(this.all, this.setup);
  }

  private keep(): void {
    history.replaceState(null, "", `?${toAddress(this.setup)}`);
  }

  /** Put the set-up into the form. */
  private fill(): void {
    const labels = this.labels();
    const all = choices(this.all, this.setup);
    for (const [name, value] of Object.entries(this.setup)) {
      const field = this.form.elements.namedItem(name) as HTMLInputElement | HTMLSelectElement;
      if (field instanceof HTMLSelectElement) {
        const options = all[name].map((each) =>
          element("option", { value: each, selected: each === value }, labels(name, each)),
        );
        field.replaceChildren(...options);
      } else {
        const { low, high, isWhole } = NUMBERS[name as NumberName];
        Object.assign(field, { min: `${low}`, max: `${high}`, step: isWhole ? "1" : "any" });
        if (Number(field.value) !== value || field.value === "") field.value = `${value}`;
        this.mark(field, true);
      }
    }
  }

  private labels(): (name: string, choice: string) => string {
    const { links, galleries, ways } = this.all;
    const { files, paces } = galleries[this.setup.gallery];
    const fixed: Named<string> = {
      ...{ visit: "a visit", month: "a month", browser: "a browser", app: "an app" },
      ...{ gpu: "the GPU", cpu: "the CPU" },
      best: "whichever pictures do best",
    };
    return (name, choice) => {
      if (name === "link") return links[choice].label;
      if (name === "gallery") return galleries[choice].label;
      if (name === "against" && choice in ways) return ways[choice].label;
      if (name === "tokens") return capital(ways[choice].tier);
      if (name === "pace") return `${Math.round(1e3 * paces[choice])} ms a row`;
      if (choice in files) return `${choice.split(" ")[1]}, ${bytes(files[choice])}`;
      return fixed[choice];
    };
  }

  private show(): void {
    const { answers } = this;
    const { headline, findings } = verdict(answers);
    part("headline").textContent = headline;
    part("findings").replaceChildren(
      ...findings.map(({ outcome, what, text }) =>
        element(
          "li",
          { class: outcome },
          element("strong", {}, OUTCOMES[outcome]),
          element("span", {}, element("b", {}, capital(what)), ` ${text}`),
        ),
      ),
    );
    part("cautions").replaceChildren(...cautions(answers).map((text) => element("li", {}, text)));
    const place = part("measures");
    for (const each of place.querySelectorAll("section")) {
      const isOpen = each.querySelector("details")?.open;
      this.opened[isOpen ? "add" : "delete"](each.id);
    }
    const tables = measures(answers).map((measure) => measured(answers, measure));
    tables.splice(1, 0, payment(answers));
    for (const { id, lastElementChild } of tables) {
      if (this.opened.has(id)) lastElementChild?.toggleAttribute("open", true);
    }
    place.replaceChildren(...tables);
    const jumps = tables.map((each) =>
      element(
        "a",
        { class: "link", href: `#${each.id}` },
        each.querySelector("h3")?.textContent ?? "",
      ),
    );
    part("jumps").replaceChildren(...jumps);
    part("machine").textContent = this.all.machine;
    part("hash").textContent = this.all.sha256.slice(0, 12);
  }

  private async copy(): Promise<void> {
    this.keep();
    try {
      await navigator.clipboard.writeText(location.href);
      this.say("The link is copied.");
    } catch {
      const field = element("input", { readonly: true, value: location.href });
      const label = element("label", { class: "field" }, "The link", field);
      part("copied").replaceChildren(
        label,
        button("Close", () => part("copied").replaceChildren()),
      );
      field.select();
      return;
    }
    part("copied").textContent = "Copied.";
    setTimeout(() => part("copied").replaceChildren(), 3_000);
  }

  private say(text: string): void {
    part("said").textContent = text;
  }
}

offerThemes(part<HTMLButtonElement>("theme"));
new Calculator();
