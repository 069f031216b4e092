/**
 * `<rowcast-picture server="wss://draw.example/" prompt="a red boat">`: a picture that forms, for
 * those who write no code.
 *
 * Attributes: `prompt` with `seed`, `guidance`, `temperature`, `top-k`, `top-p`, `min-p`, `model`
 * and `stop-row`; or `link`, a share link to watch; `server` (default: where the page came from);
 * `quality` (palette, preview, full); `token`. Elements of one server and token share a connection.
 * What changes while a picture forms starts another one.
 *
 * Events, which bubble: "rowcast-rows", "rowcast-done", "rowcast-error" (detail: the event of the
 * generation, or the Error). The picture's canvas is the part `canvas`.
 */

import { Client } from "./client.js";
import { Painter, type Quality, type Shown } from "./pixels/painter.js";
import { type GenerateRequest, type Generation, parseShareLink } from "./wire/index.js";

interface Studio {
  readonly client: Client;
  readonly painter: Painter;
}

const NUMBERS = {
  seed: "seed",
  temperature: "temperature",
  guidance: "guidance",
  "top-k": "topK",
  "top-p": "topP",
  "min-p": "minP",
  "stop-row": "stopRow",
} as const;
const ATTRIBUTES = [
  "server",
  "prompt",
  "link",
  "model",
  "quality",
  "token",
  ...Object.keys(NUMBERS),
];
const STYLE = "canvas { display: block; width: 100%; height: auto } :host { display: block }";

const studios = new Map<string, Promise<Studio>>();

export class RowcastPicture extends HTMLElement {
  static readonly observedAttributes = ATTRIBUTES;
  private running: AbortController | undefined;
  private isDue = false;

  connectedCallback(): void {
    this.begin();
  }

  disconnectedCallback(): void {
    this.running?.abort();
    this.running = undefined;
  }

  attributeChangedCallback(): void {
    if (this.isConnected) this.begin();
  }

  /** Once for all attributes that change together. */
  private begin(): void {
    if (this.isDue) return;
    this.isDue = true;
    queueMicrotask(() => {
      this.isDue = false;
      if (!this.isConnected) return;
      this.running?.abort();
      this.running = new AbortController();
      void this.draw(this.running.signal);
    });
  }

  private async draw(signal: AbortSignal): Promise<void> {
    let shown: Shown | undefined;
    try {
      const prompt = this.getAttribute("prompt");
      const link = this.getAttribute("link");
      if (prompt === null && link === null) return;
      const { client, painter } = await this.studio(link);
      signal.throwIfAborted();
      const generation: Generation = link
        ? client.watch(link, { signal })
        : client.generate(this.request(prompt ?? "", signal));
      for await (const event of generation) {
        if (event.type === "accepted") shown = painter.show(event.picture, this.canvas());
        shown?.update();
        if (event.type === "failed") throw event.error;
        if (event.type === "done") await shown?.settled;
        this.tell(event.type, event);
      }
    } catch (error) {
      if (!signal.aborted) this.tell("error", error);
    }
    signal.addEventListener("abort", () => shown?.close());
    if (signal.aborted) shown?.close();
  }

  private studio(link: string | null): Promise<Studio> {
    const page = new URL(".", location.href);
    page.protocol = page.protocol === "https:" ? "wss:" : "ws:";
    const server = link ? parseShareLink(link).url : (this.getAttribute("server") ?? page.href);
    const token = this.getAttribute("token");
    const quality = (this.getAttribute("quality") ?? "preview") as Quality;
    const name = JSON.stringify([server, token, quality]);
    let studio = studios.get(name);
    if (studio === undefined) {
      const option = token === null ? {} : { token };
      studio = Client.connect(server, option).then((client) => {
        client.addEventListener("statechange", () => {
          if (client.state === "closed") studios.delete(name);
        });
        return { client, painter: new Painter(client, { ...option, quality }) };
      });
      studios.set(name, studio);
      studio.catch(() => studios.delete(name));
    }
    return studio;
  }

  private request(prompt: string, signal: AbortSignal): GenerateRequest {
    const request: Record<string, unknown> = { prompt, signal };
    const model = this.getAttribute("model");
    if (model !== null) request.model = model;
    for (const [attribute, name] of Object.entries(NUMBERS)) {
      const text = this.getAttribute(attribute);
      if (text !== null) request[name] = Number(text);
    }
    return request as unknown as GenerateRequest;
  }

  private canvas(): HTMLCanvasElement {
    const canvas = document.createElement("canvas");
    canvas.setAttribute("part", "canvas");
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", this.getAttribute("prompt") ?? "a shared picture");
    const style = document.createElement("style");
    style.textContent = STYLE;
    const root = this.shadowRoot ?? this.attachShadow({ mode: "open" });
    root.replaceChildren(style, canvas);
    return canvas;
  }

  private tell(type: string, detail: unknown): void {
    this.dispatchEvent(
      new CustomEvent(`rowcast-${type}`, { detail, bubbles: true, composed: true }),
    );
  }
}

customElements.define("rowcast-picture", RowcastPicture);
