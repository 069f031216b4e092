/**
 * Detokenizer files: fetched once, kept under their SHA-256 in the Cache API, resumed where a
 * download was cut, also by a reload.
 *
 * Source: protocol.md, R-52 to; RFC 9110 section 14 for ranges.
 */

import { sha256 } from "../wire/sha256.js";

/** As `welcome` announces a file. */
export interface AnnouncedFile {
  readonly kind: string;
  readonly precision: string;
  readonly bytes: number;
  readonly sha256: Uint8Array;
  readonly url: string;
}

export interface FetchOptions {
  /** Of the server of the WebSocket, for one that keeps its files private. */
  readonly token?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Hosts that files may come from besides the server's own. */
  readonly allowedHosts?: readonly string[];
  /** Milliseconds before another attempt, doubled each time: 500 if not said. */
  readonly firstWait?: number;
  /** Bytes there are by now, of all. */
  readonly onProgress?: (received: number, bytes: number) => void;
}

/** A file did not come, or is not the one announced. */
export class FileFailed extends Error {
  override readonly name = "FileFailed";
}

const CACHE = "rowcast-files";
const PIECE_BYTES = 4_194_304; // of a download that goes on after a reload: so much is lost at most
const ATTEMPTS = 4;
const FIRST_WAIT = 500; // milliseconds

/**
 * The bytes of a file, from the cache or the server.
 *
 * `server` is the URL of the WebSocket. Rejects with FileFailed, or with the signal's reason.
 */
export async function fetchFile(
  file: AnnouncedFile,
  server: URL,
  options: FetchOptions = {},
): Promise<Uint8Array> {
  const name = hex(file.sha256);
  const url = fileUrl(file.url, server, options.allowedHosts ?? []);
  const work = () => fetchAlone(file, name, url, options);
  const locks = globalThis.navigator?.locks; // one tab fetches a file, the others find it kept
  return locks ? locks.request(`${CACHE}/${name}`, work) : work();
}

/** Where a file is. Throws FileFailed where it must not be fetched from. */
export function fileUrl(announced: string, server: URL, allowedHosts: readonly string[]): URL {
  const base = filesOf(server);
  let url: URL;
  try {
    url = new URL(announced, base);
  } catch {
    throw new FileFailed(`the server announces a file at ${announced}, which is no address`);
  }
  if (url.protocol !== "https:" && (url.protocol !== "http:" || base.protocol === "https:")) {
    throw new FileFailed(`a file at ${url.href} is not fetched: the server is at ${server.href}`);
  }
  if (url.hostname !== base.hostname && !allowedHosts.includes(url.hostname)) {
    throw new FileFailed(
      `a file is at ${url.hostname}, another host than the server's; allow it by allowedHosts`,
    );
  }
  return url;
}

/** The base of a server's files: the URL of its WebSocket, read as that of HTTP. */
export function filesOf(server: URL): URL {
  const url = new URL(server);
  url.protocol = server.protocol === "wss:" ? "https:" : "http:";
  return url;
}

/** Forget every file that was kept. */
export async function clearFiles(): Promise<void> {
  await globalThis.caches?.delete(CACHE);
}

async function fetchAlone(
  file: AnnouncedFile,
  name: string,
  url: URL,
  options: FetchOptions,
): Promise<Uint8Array> {
  const kept = await Kept.open(name);
  const whole = await kept?.whole();
  if (whole !== undefined && (await isRight(whole, file))) {
    options.onProgress?.(whole.length, file.bytes);
    return whole;
  }
  const download = new Download(file.bytes, kept);
  await download.takeKept();
  for (let attempt = 1; ; attempt++) {
    const before = download.received;
    try {
      await download.go(url, options);
      break;
    } catch (error) {
      options.signal?.throwIfAborted();
      if (error instanceof FileFailed) {
        await kept?.forget();
        throw error;
      }
      if (download.received > before) attempt = 1;
      if (attempt === ATTEMPTS) throw new FileFailed(`${url.href} did not come: ${error}`);
      await pause((options.firstWait ?? FIRST_WAIT) * 2 ** (attempt - 1), options.signal);
    }
  }
  const { bytes } = download;
  if (!(await isRight(bytes, file))) {
    await kept?.forget();
    throw new FileFailed(`${url.href} is another file than announced: its SHA-256 differs`);
  }
  await kept?.keep(bytes);
  return bytes;
}

/** A file on its way. */
class Download {
  readonly bytes: Uint8Array;
  received = 0;
  private pieces = 0; // of those received, kept

  constructor(
    bytes: number,
    private readonly kept: Kept | undefined,
  ) {
    this.bytes = new Uint8Array(bytes);
  }

  /** Take what an earlier page received. */
  async takeKept(): Promise<void> {
    for (;;) {
      const piece = await this.kept?.piece(this.pieces);
      if (piece?.length !== PIECE_BYTES || this.received + PIECE_BYTES > this.bytes.length) return;
      this.bytes.set(piece, this.received);
      this.received += PIECE_BYTES;
      this.pieces++;
    }
  }

  /** Request what is missing. Throws FileFailed for what another try does not mend. */
  async go(url: URL, { token, signal, onProgress }: FetchOptions): Promise<void> {
    const total = this.bytes.length;
    onProgress?.(this.received, total);
    if (this.received === total) return;
    const headers = new Headers();
    if (token !== undefined) headers.set("Authorization", `Bearer ${token}`);
    if (this.received > 0) headers.set("Range", `bytes=${this.received}-`);
    const response = await fetch(url, {
      headers,
      redirect: "error",
      credentials: "omit",
      ...(signal && { signal }),
    });
    if (response.status >= 400 && response.status < 500 && response.status !== 429) {
      const words = (await response.text()).slice(0, 200).trim();
      throw new FileFailed(`${url.href} was answered ${response.status}: ${words}`);
    }
    if (!response.ok || response.body === null) throw new Error(`HTTP ${response.status}`);
    if (response.status !== 206) this.received = 0;
    for await (const chunk of chunks(response.body)) {
      if (this.received + chunk.length > total) {
        throw new FileFailed(`${url.href} is longer than the ${total} bytes announced`);
      }
      this.bytes.set(chunk, this.received);
      this.received += chunk.length;
      onProgress?.(this.received, total);
      await this.keepPieces();
    }
    if (this.received < total) throw new Error(`it ended after ${this.received} of ${total} bytes`);
  }

  private async keepPieces(): Promise<void> {
    while ((this.pieces + 1) * PIECE_BYTES <= this.received) {
      const first = this.pieces * PIECE_BYTES;
      await this.kept?.keepPiece(this.pieces, this.bytes.subarray(first, first + PIECE_BYTES));
      this.pieces++;
    }
  }
}

/** What is kept of one file. A cache that is full or denied keeps nothing, and nothing fails. */
class Kept {
  private constructor(
    private readonly cache: Cache,
    private readonly name: string,
  ) {}

  static async open(name: string): Promise<Kept | undefined> {
    try {
      return new Kept(await caches.open(CACHE), name); // secure pages alone have `caches`
    } catch {
      return undefined;
    }
  }

  whole(): Promise<Uint8Array | undefined> {
    return this.read("");
  }

  piece(number: number): Promise<Uint8Array | undefined> {
    return this.read(`/${number}`);
  }

  keepPiece(number: number, bytes: Uint8Array): Promise<void> {
    return this.write(`/${number}`, bytes);
  }

  async keep(bytes: Uint8Array): Promise<void> {
    await this.write("", bytes);
    await this.forgetPieces(bytes.length);
  }

  async forget(): Promise<void> {
    await this.cache.delete(this.key("")).catch(() => false);
    await this.forgetPieces(Number.MAX_SAFE_INTEGER);
  }

  private async forgetPieces(bytes: number): Promise<void> {
    for (let number = 0; number * PIECE_BYTES < bytes; number++) {
      if (!(await this.cache.delete(this.key(`/${number}`)).catch(() => false))) return;
    }
  }

  private async read(part: string): Promise<Uint8Array | undefined> {
    const found = await this.cache.match(this.key(part)).catch(() => undefined);
    return found && new Uint8Array(await found.arrayBuffer());
  }

  private async write(part: string, bytes: Uint8Array): Promise<void> {
    await this.cache.put(this.key(part), new Response(bytes as BufferSource)).catch(() => {});
  }

  private key(part: string): string {
    return `https://files.rowcast.invalid/${this.name}${part}`; // never asked for: only a name
  }
}

async function isRight(bytes: Uint8Array, file: AnnouncedFile): Promise<boolean> {
  if (bytes.length !== file.bytes) return false;
  const subtle = globalThis.crypto?.subtle; // secure pages alone have it
  const digest = subtle
    ? new Uint8Array(await subtle.digest("SHA-256", bytes as BufferSource))
    : sha256(bytes);
  return hex(digest) === hex(file.sha256);
}

async function* chunks(body: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array> {
  const reader = body.getReader(); // not every browser iterates over the stream itself
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function pause(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
