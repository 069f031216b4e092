/** The page: draw, watch, keep, branch, share, replay. */

import {
  type GenerateRequest,
  type Generation,
  parseShareLink,
  type SavedGeneration,
  SavedPicture,
} from "../src/wire/index.js";
import { button, part } from "./elements.js";
import { Form } from "./form.js";
import { Sheet, type SheetActions } from "./sheet.js";
import { openStudio, ownServer, type Studio } from "./studio.js";
import { problem, say, words } from "./telling.js";
import { offerThemes } from "./theme.js";

interface Kept {
  readonly title: string;
  readonly prompt: string;
  readonly generations: SavedGeneration[];
}

const KEPT = "rowcast sheets"; // in sessionStorage: it holds the keys of what is drawn
const MOST_KEPT = 12;

class Page implements SheetActions {
  private readonly sheets: Sheet[] = [];
  private readonly form: Form;
  private isDue = false;

  constructor(private readonly studio: Studio) {
    const { models, limits } = studio.client;
    studio.painter.load(models[0]);
    this.form = new Form(models, limits, (request) => this.ask(request, request.prompt));
    addEventListener("pagehide", () => this.keep());
  }

  images(): number {
    return this.form.images;
  }

  ask(request: GenerateRequest, title: string): void {
    problem("");
    this.follow(() => this.studio.client.generate(request), title, request.prompt);
    say("Drawing");
  }

  /** Go on with what was there before a reload. */
  restore(): void {
    const kept: Kept[] = JSON.parse(sessionStorage.getItem(KEPT) ?? "[]");
    for (const { title, prompt, generations } of kept) {
      for (const saved of generations) {
        this.follow(() => this.studio.client.restore(saved), title, prompt);
      }
    }
  }

  watch(link: string): void {
    this.follow(() => this.studio.client.watch(link), "Shared with you", "");
  }

  /** Show a .rows file. */
  async open(file: File): Promise<void> {
    try {
      const picture = new SavedPicture(new Uint8Array(await file.arrayBuffer()));
      const { models } = this.studio.client;
      const model = models.find(({ name }) => name === picture.model);
      if (model === undefined) {
        problem(`${file.name} is of the model ${picture.model}, which this server does not have.`);
        return;
      }
      problem("");
      const sheet = this.add(
        `${picture.prompt || "a shared picture"} (${file.name})`,
        picture.prompt,
      );
      sheet.showSaved(picture, model);
    } catch (error) {
      problem(`${file.name}: ${words(error)}`);
    }
  }

  changed(): void {
    if (this.isDue) return;
    this.isDue = true;
    setTimeout(() => {
      this.isDue = false;
      this.keep();
    }, 250);
  }

  private follow(begin: () => Generation, title: string, prompt: string): void {
    try {
      const generation = begin();
      void this.add(title, prompt).follow(generation);
    } catch (error) {
      problem(words(error));
    }
  }

  private add(title: string, prompt: string): Sheet {
    const sheet = new Sheet(this.studio, title, prompt, this);
    this.sheets.unshift(sheet);
    part("sheets").prepend(sheet.section);
    return sheet;
  }

  private keep(): void {
    const kept = this.sheets.map((sheet) => sheet.save()).filter((each) => each !== undefined);
    try {
      sessionStorage.setItem(KEPT, JSON.stringify(kept.slice(0, MOST_KEPT).reverse()));
    } catch {
      // No room: a reload shows less.
    }
  }
}

/** Files that are dropped or chosen. */
function takeFiles(page: Page): void {
  const field = part<HTMLInputElement>("file");
  const take = (files: Iterable<File> | null | undefined) => {
    for (const file of files ?? []) void page.open(file);
  };
  field.addEventListener("change", () => {
    take(field.files);
    field.value = "";
  });
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  for (const type of ["dragleave", "drop"]) {
    document.addEventListener(type, () => document.body.classList.remove("dropping"));
  }
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    take(event.dataTransfer?.files);
  });
}

/** The share link behind the page's own #, and the server that it leads to. */
async function linkedServer(): Promise<{ link?: string; url: URL }> {
  const url = ownServer();
  const text = decodeURIComponent(location.hash.slice(1));
  if (!text.startsWith("rowcast:")) return { url };
  try {
    const linked = new URL(parseShareLink(text).url);
    if (linked.host === url.host) return { link: text, url };
    await new Promise<void>((resolve) => {
      problem(
        `This link leads to another server, ${linked.host}.`,
        button("Connect to it", () => resolve(), { class: "" }),
      );
    });
    return { link: text, url: linked };
  } catch (error) {
    problem(words(error));
    return { url };
  }
}

offerThemes(part<HTMLButtonElement>("theme"));
const { link, url } = await linkedServer();
const page = new Page(await openStudio(url));
takeFiles(page);
page.restore();
if (link !== undefined) page.watch(link);
