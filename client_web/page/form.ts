/** The form: what is to be drawn, and how. */

import type { GenerateRequest, Limits, Model, Range } from "../src/wire/index.js";
import { button, element, part } from "./elements.js";

const KNOBS = {
  temperature: "Temperature",
  guidance: "Guidance",
  topK: "Top k (0: all)",
  topP: "Top p",
  minP: "Min p",
} as const;
type Knob = keyof typeof KNOBS;

export class Form {
  private readonly form = part<HTMLFormElement>("ask");
  private model: Model;

  constructor(
    private readonly models: Model[],
    limits: Limits,
    onAsk: (request: GenerateRequest) => void,
  ) {
    this.model = models[0];
    this.field("images").max = `${Math.min(16, limits.images)}`;
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      onAsk(this.request());
    });
    part("prompt").addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.form.requestSubmit();
    });
    this.offer(this.model);
  }

  /** How many pictures are wanted. */
  get images(): number {
    return Number(this.field("images").value);
  }

  private request(): GenerateRequest {
    const numbers: Partial<Record<Knob | "seed" | "stopRow", number>> = {};
    for (const name of ["seed", "stopRow", ...Object.keys(KNOBS)] as (keyof typeof numbers)[]) {
      const text = this.field(name)?.value ?? "";
      if (text !== "") numbers[name] = Number(text);
    }
    const { images } = this;
    return { prompt: this.prompt.value, images, model: this.model.name, ...numbers };
  }

  private get prompt(): HTMLTextAreaElement {
    return part<HTMLTextAreaElement>("prompt");
  }

  private field(name: string): HTMLInputElement {
    return this.form.elements.namedItem(name) as HTMLInputElement;
  }

  /** Show what a model can draw, and its knobs. */
  private offer(model: Model): void {
    this.model = model;
    this.field("stopRow").max = `${model.rows - 1}`;
    const examples = model.examples.slice(0, 4).map((example) =>
      button(example, () => {
        this.prompt.value = example;
        this.prompt.focus();
      }),
    );
    part("examples").replaceChildren(...examples);
    if (this.prompt.value === "") this.prompt.value = model.examples[0] ?? "";
    const knobs = Object.entries(KNOBS).flatMap(([name, words]) => {
      const range: Range = model.sampling[name as Knob];
      return range.low === range.high ? [] : [this.knob(name, words, range)];
    });
    if (this.models.length > 1) knobs.unshift(this.chooser());
    part("knobs").replaceChildren(...knobs);
  }

  private knob(name: string, words: string, range: Range): HTMLElement {
    const input = element("input", {
      name,
      type: "number",
      min: range.low,
      max: range.high,
      step: name === "topK" ? 1 : "any",
      placeholder: `${+range.default.toPrecision(4)}`,
    });
    return element("label", { class: "field" }, words, input);
  }

  private chooser(): HTMLElement {
    const select = element(
      "select",
      {
        onchange: () => {
          const model = this.models.find(({ name }) => name === select.value);
          if (model) this.offer(model);
        },
      },
      ...this.models.map(({ name }) =>
        element("option", { value: name, selected: name === this.model.name }, name),
      ),
    );
    return element("label", { class: "field" }, "Model", select);
  }
}
