import { createHash } from "node:crypto";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import {
  type AnnouncedFile,
  type FetchOptions,
  FileFailed,
  fetchFile as fetchSlowly,
  fileUrl,
} from "../../src/pixels/files.js";

const SERVER = new URL("ws://draw.example/prefix/");
const BYTES = Uint8Array.from({ length: 10_000_000 }, (_, index) => (index * 7_919) >> 5);
const FILE: AnnouncedFile = {
  kind: "full",
  precision: "int8",
  bytes: BYTES.length,
  sha256: new Uint8Array(createHash("sha256").update(BYTES).digest()),
  url: "detokenizer/one.onnx",
};

const fetchFile = (file: AnnouncedFile, url: URL, options: FetchOptions = {}) =>
  fetchSlowly(file, url, { firstWait: 1, ...options });

/** Quicker than to have each of ten million bytes compared by `expect`. */
const isWhole = (bytes: Uint8Array) => Buffer.compare(bytes, BYTES) === 0;

/** The Cache API, as far as it is used. */
class FakeCaches {
  readonly kept = new Map<string, Uint8Array>();
  isFull = false;

  async open(): Promise<unknown> {
    return {
      match: async (key: string) => {
        const found = this.kept.get(key);
        return found && new Response(found as BufferSource);
      },
      put: async (key: string, response: Response) => {
        if (this.isFull) throw new DOMException("no room", "QuotaExceededError");
        this.kept.set(key, new Uint8Array(await response.arrayBuffer()));
      },
      delete: async (key: string) => this.kept.delete(key),
    };
  }
}

interface Server {
  content: Uint8Array;
  takesRanges: boolean;
  status: number;
  /** After so many bytes the first `cuts` answers break off. */
  cutAfter: number;
  cuts: number;
  readonly asked: Request[];
}

let server: Server;
let caches: FakeCaches;

function answer(request: Request): Response {
  server.asked.push(request);
  if (server.status >= 400) return new Response("not for you", { status: server.status });
  const range = /^bytes=(\d+)-$/.exec(request.headers.get("Range") ?? "");
  const first = server.takesRanges && range ? Number(range[1]) : 0;
  const cutAfter = server.cuts-- > 0 ? server.cutAfter : Infinity;
  let at = first;
  const body = new ReadableStream({
    pull(controller) {
      if (at === first + cutAfter) {
        controller.error(new TypeError("network error"));
        return;
      }
      const end = Math.min(at + 1_000_000, server.content.length, first + cutAfter);
      controller.enqueue(server.content.slice(at, end));
      at = end;
      if (at === server.content.length) controller.close();
    },
  });
  return new Response(body, { status: first > 0 ? 206 : 200 });
}

beforeEach(() => {
  server = { content: BYTES, takesRanges: true, status: 200, cutAfter: 0, cuts: 0, asked: [] };
  caches = new FakeCaches();
  vi.stubGlobal("caches", caches);
  vi.stubGlobal("fetch", async (url: URL, init: RequestInit) => {
    init.signal?.throwIfAborted();
    return answer(new Request(url, init));
  });
});

afterEach(() => {
  vi.unstubAllGlobals();
});

test("a file is fetched once, and then taken from where it was kept", async () => {
  expect(isWhole(await fetchFile(FILE, SERVER))).toBe(true);
  expect(isWhole(await fetchFile(FILE, SERVER))).toBe(true);
  expect(server.asked.map((request) => request.url)).toEqual([
    "http://draw.example/prefix/detokenizer/one.onnx",
  ]);
  expect(server.asked[0].redirect).toBe("error");
  expect(server.asked[0].credentials).toBe("omit");
  expect(caches.kept.size).toBe(1);
});

test("what was kept and has changed is fetched again", async () => {
  await fetchFile(FILE, SERVER);
  for (const bytes of caches.kept.values()) bytes[17] ^= 1;
  expect(isWhole(await fetchFile(FILE, SERVER))).toBe(true);
  expect(server.asked.length).toBe(2);
});

test("a download that is cut goes on where it was, as long as something comes", async () => {
  Object.assign(server, { cutAfter: 1_500_000, cuts: 9 });
  const told: number[] = [];
  const bytes = await fetchFile(FILE, SERVER, { onProgress: (received) => told.push(received) });
  expect(isWhole(bytes)).toBe(true);
  const ranges = server.asked.map((request) => request.headers.get("Range"));
  expect(ranges).toEqual([null, ...[1, 2, 3, 4, 5, 6].map((part) => `bytes=${part * 1_500_000}-`)]);
  expect(told.at(-1)).toBe(BYTES.length);
  expect(told).toEqual([...told].sort((a, b) => a - b));
});

test("a page that was closed goes on with the pieces it kept", async () => {
  const closing = new AbortController();
  const onProgress = (received: number) => {
    if (received > 9_000_000) closing.abort();
  };
  const { signal } = closing;
  Object.assign(server, { cutAfter: 9_500_000, cuts: 1 });
  await expect(fetchFile(FILE, SERVER, { signal, onProgress })).rejects.toThrow("abort");
  expect(isWhole(await fetchFile(FILE, SERVER))).toBe(true);
  expect(server.asked.at(-1)?.headers.get("Range")).toBe(`bytes=${2 * 4_194_304}-`);
  expect(caches.kept.size).toBe(1);
});

test("a server that takes no ranges sends it all again", async () => {
  server.takesRanges = false;
  Object.assign(server, { cutAfter: 1_500_000, cuts: 2 });
  expect(isWhole(await fetchFile(FILE, SERVER))).toBe(true);
  expect(server.asked.length).toBe(3);
});

test("where nothing can be kept the file is there all the same", async () => {
  caches.isFull = true;
  expect(isWhole(await fetchFile(FILE, SERVER))).toBe(true);
  vi.stubGlobal("caches", undefined);
  expect(isWhole(await fetchFile(FILE, SERVER))).toBe(true);
});

test("private files are asked for with the token", async () => {
  await fetchFile(FILE, SERVER, { token: "secret" });
  expect(server.asked[0].headers.get("Authorization")).toBe("Bearer secret");
});

describe("a file that is not the one announced fails, and is not kept", () => {
  test.each([
    ["longer", Uint8Array.from([...BYTES.subarray(0, 10), ...BYTES]), "longer"],
    ["other bytes", BYTES.map((byte) => byte ^ 1), "SHA-256"],
  ])("%s", async (_, content, words) => {
    server.content = content;
    await expect(fetchFile(FILE, SERVER)).rejects.toThrow(words);
    expect(caches.kept.size).toBe(0);
  });

  test("refused: at once, with the server's words", async () => {
    server.status = 401;
    await expect(fetchFile(FILE, SERVER)).rejects.toThrow("401: not for you");
    expect(server.asked.length).toBe(1);
  });

  test("a server that fails is asked four times", async () => {
    server.status = 503;
    await expect(fetchFile(FILE, SERVER)).rejects.toThrow(FileFailed);
    expect(server.asked.length).toBe(4);
  });
});

test("a file comes from the server's host alone, and never by http after wss", () => {
  const allowed = (announced: string, url: string, hosts: string[] = []) =>
    fileUrl(announced, new URL(url), hosts).href;
  expect(allowed("detokenizer/a", "wss://x.example/p/ws")).toBe(
    "https://x.example/p/detokenizer/a",
  );
  expect(allowed("http://x.example:81/a", "ws://x.example")).toBe("http://x.example:81/a");
  expect(allowed("https://cdn.example/a", "wss://x.example", ["cdn.example"])).toBe(
    "https://cdn.example/a",
  );
  expect(() => allowed("https://cdn.example/a", "wss://x.example")).toThrow("allowedHosts");
  expect(() => allowed("http://x.example/a", "wss://x.example")).toThrow(FileFailed);
  expect(() => allowed("javascript:alert(1)", "ws://x.example")).toThrow(FileFailed);
  expect(() => allowed("http://[", "ws://x.example")).toThrow("no address");
});
