import { describe, expect, test } from "vitest";
import { reasonNumber } from "../../src/wire/messages.js";
import { RowsFileError, rowsFile, SavedPicture } from "../../src/wire/rows-file.js";
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
