/** A line over a picture, at one of its rows: by pointer, by touch and by keyboard. */

import { element } from "./elements.js";

const HINT = "other endings";

/** A slider as high as the picture. A click, a second touch of a row, and Enter choose the row. */
export class RowChooser {
  readonly slider: HTMLElement;
  private row = 1;
  private most = 1;
  private rows = 1;
  private readonly line = element("span", { class: "line" }, element("span", {}, HINT));

  constructor(label: string, onChoose: (row: number) => void) {
    this.slider = element(
      "div",
      {
        class: "cut",
        role: "slider",
        tabindex: 0,
        "aria-label": label,
        "aria-orientation": "vertical",
        "aria-valuemin": 1,
        title: "Click a row: other endings below it",
      },
      this.line,
    );
    let touched = 0; // the row that a touch has chosen
    this.slider.addEventListener("pointermove", (event) => {
      if (event.pointerType !== "touch") this.move(this.rowAt(event));
    });
    this.slider.addEventListener("click", (event) => {
      const row = this.rowAt(event);
      const isSecond = Math.abs(row - touched) <= 1;
      if ((event as PointerEvent).pointerType !== "touch") onChoose(row);
      else if (isSecond) onChoose(touched);
      else this.move(row);
      touched = isSecond ? 0 : row;
    });
    this.slider.addEventListener("keydown", (event) => {
      const { row, most } = this;
      const moves: Record<string, number> = {
        ...{ ArrowDown: row + 1, ArrowRight: row + 1, ArrowUp: row - 1, ArrowLeft: row - 1 },
        ...{ PageDown: row + 4, PageUp: row - 4, Home: 1, End: most },
      };
      if (event.key in moves) this.move(moves[event.key]);
      else if (event.key === "Enter" || event.key === " ") onChoose(row);
      else return;
      event.preventDefault();
    });
  }

  /** Have it stand over a picture of `rows` rows, the first `most` of which may be kept. */
  lay(rows: number, most: number): void {
    this.rows = rows;
    this.most = most;
    this.slider.setAttribute("aria-valuemax", `${most}`);
    this.move(Math.ceil(most / 2));
  }

  private rowAt(event: MouseEvent): number {
    const { top, height } = this.slider.getBoundingClientRect();
    return this.within(Math.round((this.rows * (event.clientY - top)) / height));
  }

  private within(row: number): number {
    return Math.min(this.most, Math.max(1, row));
  }

  private move(row: number): void {
    this.row = this.within(row);
    this.line.style.top = `${(100 * this.row) / this.rows}%`;
    this.line.classList.toggle("low", this.row > 0.8 * this.rows);
    this.slider.setAttribute("aria-valuenow", `${this.row}`);
    this.slider.setAttribute("aria-valuetext", `below row ${this.row} of ${this.rows}`);
  }
}
