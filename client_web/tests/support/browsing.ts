/** A real server and a real browser, for tests. */

import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { type Browser, chromium } from "playwright-core";

const ROWCAST = process.env.ROWCAST ?? "../.venv/bin/rowcast";
/** Options of every server, as `--cluster local`. */
const EVERYWHERE = process.env.ROWCAST_SERVE?.split(" ") ?? [];
const BROWSERS = ["chromium", "chromium-browser", "google-chrome"];

export interface Served {
  /** http://…/, where the page is. */
  readonly page: string;
  readonly url: string;
  /** SIGKILL. */
  kill(): void;
  close(): Promise<void>;
}

/** `rowcast serve`; it takes jobs once this resolves. */
export async function serve(...options: string[]): Promise<Served> {
  const words = ["serve", "--port", "0", "--stop-at-eof", "--quiet", ...EVERYWHERE, ...options];
  const child = spawn(ROWCAST, words, { stdio: ["pipe", "pipe", "inherit"] });
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  const ready = await readyLine(child);
  const [, url, http] = ready.split(" ");
  return {
    url,
    page: `${http}/`,
    kill: () => child.kill("SIGKILL"),
    close: () => {
      child.kill("SIGKILL"); // nothing of it is looked at after a test
      return ended;
    },
  };
}

/** `rowcast openai` before a server; `url` is the base URL for an SDK. */
export async function gateway(serverUrl: string) {
  const words = ["openai", serverUrl, "--port", "0", "--stop-at-eof"];
  const child = spawn(ROWCAST, words, { stdio: ["pipe", "pipe", "inherit"] });
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  const ready = await readyLine(child);
  return {
    url: ready.split(" ")[1],
    close: () => {
      child.kill("SIGKILL");
      return ended;
    },
  };
}

function readyLine(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = "";
    child.stdout?.on("data", (data) => {
      text += data;
      const line = /^ready .*$/m.exec(text);
      if (line) resolve(line[0]);
    });
    child.once("error", reject);
    child.once("exit", (code) => reject(new Error(`rowcast ended with ${code}`)));
  });
}

/** Headless Chromium: that of CHROMIUM, or the one that is installed. */
export function launch(...options: string[]): Promise<Browser> {
  const path = process.env.CHROMIUM ?? installed();
  const args = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", ...options];
  return chromium.launch({ executablePath: path, args });
}

function installed(): string {
  for (const name of BROWSERS) {
    try {
      return execFileSync("which", [name], { encoding: "utf-8" }).trim();
    } catch {
      // the next
    }
  }
  throw new Error("no Chromium is installed; name one in CHROMIUM");
}

/** Files of a site of another origin, for pages of any: by path, type and content. */
export async function site(files: Record<string, [type: string, content: string | Uint8Array]>) {
  const server = createServer((request, response) => {
    const found = files[new URL(request.url ?? "/", "http://x").pathname];
    response.writeHead(found ? 200 : 404, {
      "Content-Type": found?.[0] ?? "text/plain",
      "Access-Control-Allow-Origin": "*",
    });
    response.end(found?.[1] ?? "");
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return { origin: `http://127.0.0.1:${port}`, close: () => server.close() };
}
