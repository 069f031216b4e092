/**
 * What paints pictures on canvases: the files of their model, fetched from the least to the most,
 * and the work of each decoder. A row is painted by the palette in the task in which it came, by
 * the preview soon after; the full decoder paints what is finished, where it is asked for.
 *
 * A decoder paints one picture at a time, always its newest rows, and none while the page is
 * hidden (protocol.md, R-48 and R-114).
 */

import { openPreviewDecoder, type PreviewDecoder } from "../preview/decoder.js";
import type { DetokenizerFile } from "../wire/index.js";
import { type Paintable, PictureCanvas, type TierName } from "./canvas.js";
import { fetchFile, filesOf } from "./files.js";
import { OnnxDecoder, type Painted } from "./onnx-decoder.js";
import { Palette } from "./palette.js";
import { RUNTIME_FOLDER } from "./runtime.js";

export type Quality = "palette" | "preview" | "full";

export interface PainterOptions {
  /** The last tier that is fetched; "full" takes onnxruntime-web and the whole decoder. */
  readonly quality?: Quality;
  /** Folder of onnxruntime-web's files; that of the server where it is not said. */
  readonly runtime?: string | URL;
  /** Precisions of the full decoder, the first there is; the smallest where it is not said. */
  readonly precisions?: readonly string[];
  readonly token?: string;
  readonly allowedHosts?: readonly string[];
}

/** A way to paint, of one model. */
export interface Tier {
  readonly kind: Quality;
  state: "loading" | "ready" | "failed";
  /** Where it runs, once it is ready. */
  backend?: string;
}

/** One picture on one canvas. */
export interface Shown {
  /** Rows came, or it ended: paint. */
  update(): void;
  /** Of what is on the canvas. */
  readonly tier: TierName;
  /** Resolves once the best that the quality allows has painted all rows there are. */
  readonly settled: Promise<void>;
  close(): void;
}

const KINDS = ["palette", "preview", "full"] as const;
const PREVIEW_FILES = "preview_weights";
const SMALLEST_FIRST = ["int8", "fp16", "fp32"];

/**
 * Paints pictures of one server: that of a Client, or whichever has its WebSocket at `url`.
 *
 * Events: "progress" (detail: {kind, received, bytes}), "tier" (detail: Tier), "error" (detail: an
 * Error; a lesser tier goes on).
 */
export class Painter extends EventTarget {
  private readonly models = new Map<string, ModelTiers>();
  private readonly ending = new AbortController();
  private current: Quality;

  constructor(
    private readonly server: { readonly url: URL },
    private readonly options: PainterOptions = {},
  ) {
    super();
    this.current = options.quality ?? "preview";
    const { signal } = this.ending;
    const wake = () => {
      if (document.hidden) return;
      for (const tiers of this.models.values()) tiers.update();
    };
    document.addEventListener("visibilitychange", wake, { signal });
  }

  get quality(): Quality {
    return this.current;
  }

  /** A better one has its files fetched. */
  set quality(quality: Quality) {
    this.current = quality;
    for (const tiers of this.models.values()) tiers.load();
  }

  /** Of all models whose files were asked for. */
  get tiers(): Tier[] {
    return [...this.models.values()].flatMap((tiers) => tiers.all);
  }

  /** Have the files of a model fetched, before there is a picture of it. */
  load(model: Paintable["model"]): void {
    this.of(model);
  }

  show(picture: Paintable, canvas: HTMLCanvasElement): Shown {
    return this.of(picture.model).show(new PictureCanvas(picture, canvas));
  }

  close(): void {
    this.ending.abort(new DOMException("the painter was closed", "AbortError"));
    for (const tiers of this.models.values()) tiers.close();
    this.models.clear();
  }

  private of(model: Paintable["model"]): ModelTiers {
    let tiers = this.models.get(model.name);
    if (tiers === undefined) {
      tiers = new ModelTiers(model, {
        quality: () => this.current,
        fetch: (file, kind) =>
          fetchFile(file, this.server.url, {
            ...this.options,
            signal: this.ending.signal,
            onProgress: (received, bytes) => this.tell("progress", { kind, received, bytes }),
          }),
        runtime: new URL(this.options.runtime ?? RUNTIME_FOLDER, filesOf(this.server.url)),
        precisions: this.options.precisions ?? SMALLEST_FIRST,
        tell: (type, detail) => this.tell(type, detail),
      });
      this.models.set(model.name, tiers);
      tiers.load();
    }
    return tiers;
  }

  private tell(type: string, detail: unknown): void {
    if (!this.ending.signal.aborted) this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** What a model's tiers need of their painter. */
interface Studio {
  quality(): Quality;
  fetch(file: DetokenizerFile, kind: Quality): Promise<Uint8Array>;
  readonly runtime: URL;
  readonly precisions: readonly string[];
  tell(type: "tier" | "error", detail: unknown): void;
}

interface Decoder {
  readonly backend: string;
  paint(number: number, canvas: PictureCanvas): Promise<Painted>;
  forget(number: number): void;
  close(): void;
}

/** The tiers of one model, and the canvases that they paint. */
class ModelTiers {
  readonly all: Tier[] = [];
  private palette: Palette | undefined;
  private readonly decoders: Partial<Record<"preview" | "full", Decoder>> = {};
  private readonly busy = new Set<string>();
  private readonly canvases = new Map<number, PictureCanvas>(); // the next to be painted first
  private readonly settling = new Map<number, () => void>();
  private count = 0;
  private loading = Promise.resolve();

  constructor(
    private readonly model: Paintable["model"],
    private readonly studio: Studio,
  ) {}

  /** Fetch what the quality asks for, one after the other. */
  load(): void {
    for (const kind of KINDS.slice(0, KINDS.indexOf(this.studio.quality()) + 1)) {
      const file = this.file(kind);
      if (file === undefined || this.all.some((tier) => tier.kind === kind)) continue;
      const tier: Tier = { kind, state: "loading" };
      this.all.push(tier);
      this.loading = this.loading.then(() => this.open(tier, file));
    }
  }

  show(canvas: PictureCanvas): Shown {
    const number = this.count++;
    this.canvases.set(number, canvas);
    canvas.draw();
    const update = () => this.update(number);
    update();
    const settled = () =>
      new Promise<void>((resolve) => {
        const before = this.settling.get(number);
        this.settling.set(number, () => {
          before?.();
          resolve();
        });
        update();
      });
    return {
      update,
      get tier() {
        return canvas.tier;
      },
      get settled() {
        return settled();
      },
      close: () => {
        this.canvases.delete(number);
        this.settle(number);
        for (const decoder of Object.values(this.decoders)) decoder.forget(number);
      },
    };
  }

  /** Paint what is new of one canvas, or of all. */
  update(only?: number): void {
    if (document.hidden) return;
    for (const [number, canvas] of this.canvases) {
      if (only !== undefined && number !== only) continue;
      if (this.palette && canvas.wants("palette")) canvas.paintByPalette(this.palette);
      if (!this.isWanting(canvas)) this.settle(number);
    }
    void this.work("preview");
    void this.work("full");
  }

  close(): void {
    for (const number of this.canvases.keys()) this.settle(number);
    for (const decoder of Object.values(this.decoders)) decoder.close();
  }

  /** Have a decoder paint, one canvas after the other, until none wants it. */
  private async work(kind: "preview" | "full"): Promise<void> {
    const decoder = this.decoders[kind];
    if (decoder === undefined || this.busy.has(kind)) return;
    this.busy.add(kind);
    try {
      for (let next = this.next(kind); next !== undefined; next = this.next(kind)) {
        const [number, canvas] = next;
        this.canvases.delete(number);
        this.canvases.set(number, canvas); // the last to be painted again
        const { rowsHeld: rows, reason } = canvas.picture;
        const painted = await decoder.paint(number, canvas);
        canvas.take(kind, painted, rows, reason !== undefined);
        if (!this.canvases.has(number) || canvas.isFinished(kind)) decoder.forget(number);
        if (!this.isWanting(canvas)) this.settle(number);
      }
    } catch (error) {
      delete this.decoders[kind];
      decoder.close();
      this.fail(
        this.all.find((tier) => tier.kind === kind),
        error,
      );
    } finally {
      this.busy.delete(kind);
    }
  }

  private next(kind: "preview" | "full"): [number, PictureCanvas] | undefined {
    if (document.hidden) return undefined;
    return [...this.canvases].find(([, canvas]) => canvas.wants(kind));
  }

  private isWanting(canvas: PictureCanvas): boolean {
    const best = KINDS.indexOf(this.studio.quality());
    return this.all.some(
      ({ kind, state }) => state !== "failed" && KINDS.indexOf(kind) <= best && canvas.wants(kind),
    );
  }

  private settle(number: number): void {
    this.settling.get(number)?.();
    this.settling.delete(number);
  }

  private file(kind: Quality): DetokenizerFile | undefined {
    const named = kind === "preview" ? PREVIEW_FILES : kind;
    const files = this.model.files.filter((file) => file.kind === named);
    if (kind === "palette") return files[0];
    const order = kind === "full" ? this.studio.precisions : SMALLEST_FIRST;
    return order
      .map((precision) => files.find((file) => file.precision === precision))
      .find((file) => file !== undefined);
  }

  private async open(tier: Tier, file: DetokenizerFile): Promise<void> {
    try {
      const bytes = await this.studio.fetch(file, tier.kind);
      const { codebookSize, pixelsPerToken } = this.model;
      if (tier.kind === "palette") {
        this.palette = Palette.read(bytes, codebookSize, pixelsPerToken);
      } else {
        const decoder =
          tier.kind === "preview"
            ? previewDecoder(await openPreviewDecoder(bytes, { model: this.model }))
            : fullDecoder(await OnnxDecoder.open(bytes, this.studio.runtime));
        this.decoders[tier.kind] = decoder;
        tier.backend = decoder.backend;
      }
      tier.state = "ready";
      this.studio.tell("tier", tier);
      this.update();
    } catch (error) {
      this.fail(tier, error);
    }
  }

  private fail(tier: Tier | undefined, error: unknown): void {
    if (tier !== undefined) {
      tier.state = "failed";
      this.studio.tell("tier", tier);
    }
    this.studio.tell("error", error);
    this.update();
  }
}

function previewDecoder(decoder: PreviewDecoder): Decoder {
  return {
    backend: decoder.backend,
    paint: (number, { picture: { ids, rowsHeld, cols, reason } }) =>
      decoder.paint(number, ids, rowsHeld, cols, { exact: reason !== undefined }),
    forget: (number) => decoder.forget(number),
    close: () => decoder.close(),
  };
}

function fullDecoder(decoder: OnnxDecoder): Decoder {
  return {
    backend: decoder.backend,
    paint: (_, { picture: { ids, rowsHeld, cols } }) => decoder.paint(ids, rowsHeld, cols),
    forget: () => {},
    close: () => decoder.close(),
  };
}
