/** The page: draw, watch, keep, branch, share, replay. */

import {
  type GenerateRequest,
  type Generation,
  RowsFileError,
  SavedPicture,
} from "../src/wire/index.js";
import { part } from "./elements.js";
import { takeFiles } from "./files-taken.js";
import { Form } from "./form.js";
import { type KeptSheet, keep, readKept } from "./kept.js";
import { linkedServer } from "./linked.js";
import { Sheet, type SheetActions } from "./sheet.js";
import { openStudio, type Studio } from "./studio.js";
import { problem, say, words } from "./telling.js";
import { offerThemes } from "./theme.js";

const KEEP_EACH = 2_000; // milliseconds, for a tab that is ended without a word

class Page implements SheetActions {
  private readonly sheets: Sheet[] = [];
  private readonly form: Form;

  constructor(private readonly studio: Studio) {
    const { client, painter } = studio;
    painter.load(client.models[0]);
    this.form = new Form(client.models, client.limits, {
      ask: (request, title) => this.ask(request, title),
      paintFully: (isWanted) => {
        painter.quality = isWanted ? "full" : "preview";
      },
    });
    addEventListener("pagehide", () => this.keep());
    document.addEventListener("visibilitychange", () => this.keep());
  }

  images(): number {
    return this.form.images;
  }

  ask(request: GenerateRequest, title: string): void {
    problem("");
    const sheet = this.add(title, request.prompt);
    if (!this.follow(sheet, () => this.studio.client.generate(request), performance.now())) return;
    say(`Drawing: ${title}`);
    setTimeout(() => this.keep(), KEEP_EACH);
    const { top } = sheet.section.getBoundingClientRect();
    if (top < 0 || top > innerHeight / 3) sheet.section.scrollIntoView();
  }

  /** Go on with what was there before a reload. */
  restore(): void {
    for (const { title, prompt, parts, counted } of readKept(this.studio.client.url).reverse()) {
      const sheet = this.add(title, prompt, counted);
      if (prompt !== "") this.form.prompt.value = prompt;
      for (const { cards, saved } of parts) {
        this.follow(sheet, () => this.studio.client.restore(saved), undefined, cards);
      }
      if (sheet.save() === undefined) this.remove(sheet); // of a model that is another now
    }
  }

  /** Watch the pictures of a share link, unless they are there. */
  watch(link: string): void {
    if (this.sheets.some((sheet) => sheet.has(link))) return;
    const sheet = this.add("Shared with you", "");
    this.follow(sheet, () => this.studio.client.watch(link), performance.now());
  }

  /** Show a .rows file. */
  async open(file: File): Promise<void> {
    try {
      const picture = new SavedPicture(new Uint8Array(await file.arrayBuffer()));
      const model = this.studio.client.models.find(({ name }) => name === picture.model);
      if (model === undefined) {
        throw new RowsFileError(
          `the model ${picture.model} drew it, which this server does not have`,
        );
      }
      if (picture.ids.some((id) => id >= model.codebookSize)) {
        throw new RowsFileError(`it is not of the ${model.name} that this server has`);
      }
      problem("");
      const title = picture.prompt || "A shared picture";
      this.add(`${title} — ${file.name}`, picture.prompt).showSaved(picture, model);
      say(`${file.name} is shown`);
    } catch (error) {
      problem(`${file.name}: ${words(error)}`);
    }
  }

  removed(sheet: Sheet): void {
    this.remove(sheet);
    part("prompt").focus();
    say("Removed");
  }

  keep(): void {
    const kept = this.sheets.map((sheet) => sheet.save());
    const isKept = (each: KeptSheet | undefined): each is KeptSheet => each !== undefined;
    keep(this.studio.client.url, kept.filter(isKept));
  }

  private follow(sheet: Sheet, begin: () => Generation, begun?: number, cards?: number[]): boolean {
    try {
      void sheet.follow(begin(), cards, begun);
      return true;
    } catch (error) {
      if (cards === undefined) this.remove(sheet);
      problem(words(error));
      return false;
    }
  }

  private remove(sheet: Sheet): void {
    this.sheets.splice(this.sheets.indexOf(sheet), 1);
    sheet.close();
    part("blank").hidden = this.sheets.length > 0;
  }

  private add(title: string, prompt: string, counted?: KeptSheet["counted"]): Sheet {
    const sheet = new Sheet(this.studio, title, prompt, this, counted);
    this.sheets.unshift(sheet);
    part("sheets").prepend(sheet.section);
    part("blank").hidden = true;
    return sheet;
  }
}

offerThemes(part<HTMLButtonElement>("theme"));
const { link, url } = await linkedServer();
const page = new Page(await openStudio(url));
takeFiles((file) => void page.open(file));
page.restore();
if (link !== undefined) page.watch(link);
addEventListener("hashchange", () => location.reload());
