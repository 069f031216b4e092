/** The form: what is to be drawn, and how. */

import type { GenerateRequest, Limits, Model, Range } from "../src/wire/index.js";
import { layBlank } from "./blank.js";
import { button, element, part } from "./elements.js";
import { size } from "./telling.js";

const KNOBS = {
  temperature: "Temperature",
  guidance: "Guidance",
  topK: "Top k",
  topP: "Top p",
  minP: "Min p",
} as const;
type Knob = keyof typeof KNOBS;

const EXAMPLES = 4;
const RUNTIME = "14 to 27 MB"; // of onnxruntime-web, by what the browser has

/** What the form asks of the page. */
export interface FormActions {
  ask(request: GenerateRequest, title: string): void;
  /** Paint by the full decoder from now on, or no longer. */
  paintFully(isWanted: boolean): void;
}

export class Form {
  private readonly form = part<HTMLFormElement>("ask");
  readonly prompt = part<HTMLTextAreaElement>("prompt");
  private model: Model;

  constructor(
    private readonly models: Model[],
    limits: Limits,
    private readonly does: FormActions,
  ) {
    this.model = models[0];
    const images = this.field("images");
    images.max = `${Math.min(16, limits.images)}`;
    images.addEventListener("input", () => layBlank(this.model, this.images));
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      does.ask(this.request(), this.prompt.value);
    });
    this.prompt.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.form.requestSubmit();
    });
    this.offer(this.model);
    part<HTMLButtonElement>("draw").disabled = false;
  }

  /** How many pictures are wanted. */
  get images(): number {
    return this.field("images").valueAsNumber || 1;
  }

  private request(): GenerateRequest {
    const numbers: Partial<Record<Knob | "seed" | "stopRow", number>> = {};
    for (const name of ["seed", "stopRow", ...Object.keys(KNOBS)] as (keyof typeof numbers)[]) {
      const text = this.field(name)?.value ?? "";
      if (text !== "") numbers[name] = Number(text);
    }
    const { images, prompt, model } = this;
    return { prompt: prompt.value, images, model: model.name, ...numbers };
  }

  private field(name: string): HTMLInputElement {
    return this.form.elements.namedItem(name) as HTMLInputElement;
  }

  /** Show what a model can draw, and its knobs. */
  private offer(model: Model): void {
    this.model = model;
    this.field("stopRow").max = `${model.rows - 1}`;
    const examples = model.examples.slice(0, EXAMPLES).map((example) =>
      button(example, () => {
        this.prompt.value = example;
        this.prompt.focus();
      }),
    );
    part("examples").replaceChildren(...examples);
    this.form.querySelector("fieldset")?.toggleAttribute("hidden", examples.length === 0);
    if (this.prompt.value === "") this.prompt.value = model.examples[0] ?? "";
    const knobs = (Object.keys(KNOBS) as Knob[]).flatMap((name) => {
      const range = model.sampling[name];
      return range.low === range.high ? [] : [this.knob(name, range)];
    });
    if (this.models.length > 1) knobs.unshift(this.chooser());
    part("knobs").replaceChildren(...knobs, ...this.fullDecoder());
    layBlank(model, this.images);
  }

  private knob(name: Knob, { low, high, default: usual }: Range): HTMLElement {
    const isWhole = name === "topK";
    const input = element("input", {
      ...{ name, type: "number", min: low, max: high },
      step: isWhole ? 1 : "any",
      placeholder: round(usual),
    });
    const range = `${round(low)} to ${round(high)}${isWhole && low === 0 ? ", 0 for all" : ""}`;
    return element("label", { class: "field" }, KNOBS[name], input, element("small", {}, range));
  }

  private chooser(): HTMLElement {
    const change = () => {
      const model = this.models.find(({ name }) => name === select.value);
      if (model) this.offer(model);
    };
    const select = element(
      "select",
      { onchange: change },
      ...this.models.map(({ name }) =>
        element("option", { value: name, selected: name === this.model.name }, name),
      ),
    );
    return element("label", { class: "field" }, "Model", select);
  }

  private fullDecoder(): HTMLElement[] {
    const files = this.model.files.filter(({ kind }) => kind === "full");
    if (files.length === 0) return [];
    const smallest = Math.min(...files.map(({ bytes }) => bytes));
    const box = element("input", {
      type: "checkbox",
      onchange: () => this.does.paintFully(box.checked),
    });
    const words = ` Paint what is done by the full decoder: fetches ${size(smallest)}, and ${RUNTIME} to run it, once`;
    return [element("label", { class: "wide" }, box, words)];
  }
}

function round(value: number): string {
  return `${Number(value.toPrecision(4))}`;
}
