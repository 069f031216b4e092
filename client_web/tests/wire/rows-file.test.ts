import { describe, expect, test } from "vitest";
import { RowsFileError } from "../../src/wire/errors.js";
import { reasonNumber } from "../../src/wire/messages.js";
import { rowsFile, SavedPicture } from "../../src/wire/rows-file.js";
import { hex, unhex, vectors } from "../support/vectors.js";

interface Vector {
  name: string;
  hex: string;
  valid: boolean;
  canonical?: boolean;
  meaning: Record<string, unknown>;
}

const { files } = vectors<{ files: Vector[] }>("rows_files");

describe("each file of the vectors", () => {
  test.each(files)("$name", (file) => {
    const bytes = unhex(file.hex);
    if (!file.valid) {
      expect(() => new SavedPicture(bytes)).toThrow(RowsFileError);
      return;
    }
    const saved = new SavedPicture(bytes);
    const { sampling, reason } = saved;
    expect({
      model: saved.model,
      revision: hex(saved.revision),
      prompt: saved.prompt,
      seed: saved.seed,
      image: saved.image,
      temperature: sampling.temperature,
      top_k: sampling.topK,
      top_p: sampling.topP,
      guidance: sampling.guidance,
      rows: saved.rows,
      cols: saved.cols,
      id_bytes: saved.idBytes,
      detokenizer: saved.detokenizer && hex(saved.detokenizer),
      reason: reason === undefined ? 255 : reasonNumber(reason),
      ids: hex(saved.prefix()),
      min_p: sampling.minP,
    }).toEqual(file.meaning);
    const again = new SavedPicture(rowsFile(saved));
    expect(again).toEqual(saved);
  });
});

test("a prompt that no file can hold is refused when it is written", () => {
  const { hex: text } = files.find(({ valid }) => valid) as Vector;
  const saved = new SavedPicture(unhex(text));
  const long = Object.assign(saved, { prompt: "p".repeat(70_000) });
  expect(new SavedPicture(rowsFile(long)).prompt).toHaveLength(70_000);
  Object.assign(saved, { prompt: "p".repeat(82_000) });
  expect(() => rowsFile(saved)).toThrow(RowsFileError);
});
