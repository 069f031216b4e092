/** OpenAI's package from npm, unchanged, before `rowcast serve --openai`. */

import OpenAI from "openai";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { gateway, type Served, serve } from "./support/browsing.js";

const PROMPT = "a red house at sunset";
// openai's own types know no seed: it is sent beside what they know.
const WITH_SEED = { seed: 7 } as object;

describe("openai from npm", () => {
  let server: Served;
  let client: OpenAI;
  let close: () => Promise<void>;

  beforeAll(async () => {
    server = await serve("--slots", "1", "--queue", "0", "--threads", "1");
    const before = await gateway(server.url);
    close = before.close;
    client = new OpenAI({ baseURL: before.url, apiKey: "any", maxRetries: 0 });
  }, 60_000);

  afterAll(async () => {
    await close();
    await server.close();
  });

  test("draws a picture, and streams the same one with three previews", async () => {
    const request = { prompt: PROMPT, ...WITH_SEED };
    const answer = await client.images.generate(request);
    const types: string[] = [];
    const indices: number[] = [];
    let last = "";
    const stream = await client.images.generate({ ...request, stream: true, partial_images: 3 });
    for await (const event of stream) {
      types.push(event.type);
      if (event.type === "image_generation.partial_image") indices.push(event.partial_image_index);
      last = event.b64_json;
    }
    expect(types.pop()).toBe("image_generation.completed");
    expect(indices).toEqual(indices.map((_, number) => number));
    expect(indices.length).toBeGreaterThan(0);
    expect(indices.length).toBeLessThanOrEqual(3);
    expect(last === answer.data?.[0]?.b64_json).toBe(true);
    const head = Buffer.from(last, "base64").subarray(1, 4).toString();
    expect([answer.size, head]).toEqual(["128x128", "PNG"]);
  }, 60_000);

  test("knows a full server, and frees its place by leaving", async () => {
    const request = { prompt: PROMPT, stream: true, partial_images: 3 } as const;
    const stream = await client.images.generate(request);
    const second = client.images.generate({ prompt: PROMPT });
    await expect(second).rejects.toBeInstanceOf(OpenAI.RateLimitError);
    const refused = await second.catch((error: unknown) => error);
    const headers = (refused as InstanceType<typeof OpenAI.RateLimitError>).headers;
    expect(Number(headers?.get("retry-after"))).toBeGreaterThanOrEqual(1);
    stream.controller.abort();
    const begun = Date.now();
    const patient = client.withOptions({ maxRetries: 5 });
    await patient.images.generate({ prompt: PROMPT });
    expect(Date.now() - begun).toBeLessThan(30_000);
  }, 60_000);

  test("tells what cannot be had by its own errors", async () => {
    const wrong = client.images.generate({ prompt: PROMPT, size: "1024x1024" });
    await expect(wrong).rejects.toThrow("postcard draws pictures of 128x128");
    await expect(wrong).rejects.toBeInstanceOf(OpenAI.BadRequestError);
    await expect(client.models.retrieve("dall-e-3")).rejects.toBeInstanceOf(OpenAI.NotFoundError);
    const models = [];
    for await (const model of client.models.list()) models.push(model.id);
    expect(models).toEqual(["postcard"]);
  });
});
