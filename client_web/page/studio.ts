/** The page's server: the connection, and what paints. */

import { Client } from "../src/client.js";
import { Painter } from "../src/pixels/painter.js";
import { ConnectionFailed } from "../src/wire/index.js";
import { button, element, part } from "./elements.js";
import { Meter } from "./figures.js";
import { problem, say, size, words } from "./telling.js";

const BAD_TOKEN = 4403;
const BACKENDS: Record<string, string> = {
  webgpu: "WebGPU",
  wasm: "WebAssembly",
  "wasm simd": "WebAssembly",
  "wasm relaxed simd": "WebAssembly",
};

export interface Studio {
  readonly client: Client;
  readonly painter: Painter;
  readonly meter: Meter;
}

/** Connect, and again as often as the user wants; resolves once there is a connection. */
export async function openStudio(url: URL): Promise<Studio> {
  const kept = `rowcast token ${url}`; // in sessionStorage: of this server alone
  for (;;) {
    const token = sessionStorage.getItem(kept) ?? undefined;
    try {
      part("server").textContent = `connecting to ${url.host} …`;
      const client = await Client.connect(url, {
        ...(token !== undefined && { token }),
        waitWhenBusySeconds: 120,
      });
      const painter = new Painter(client, { quality: "preview", ...(token && { token }) });
      tellState(client, painter);
      return { client, painter, meter: new Meter(client) };
    } catch (error) {
      part("server").textContent = `no connection to ${url.host}`;
      if (error instanceof ConnectionFailed && error.closeCode === BAD_TOKEN) {
        sessionStorage.setItem(kept, await askForToken(token !== undefined));
      } else {
        await askAgain(words(error));
      }
      problem("");
    }
  }
}

/** Tell the state of the connection, and of the files. */
function tellState(client: Client, painter: Painter): void {
  const place = part("server");
  const { host } = client.url;
  let fetched = "";
  const tell = () => {
    if (client.state === "reconnecting") {
      place.textContent = `${host} is gone; looking for it …`;
    } else if (client.state === "closed") {
      place.textContent = `no connection to ${host}`;
      problem(
        `The connection to ${host} is lost. What had come is kept.`,
        button("Connect again", () => location.reload(), { class: "" }),
      );
    } else {
      const paints = painter.tiers.findLast(({ state }) => state === "ready");
      const by = paints?.backend ? `painted by ${BACKENDS[paints.backend] ?? paints.backend}` : "";
      place.textContent = [host, fetched || by].filter(Boolean).join(" · ");
    }
  };
  tell();
  client.addEventListener("statechange", () => {
    tell();
    if (client.state === "reconnecting") say(`${host} is gone; looking for it`);
  });
  painter.addEventListener("tier", tell);
  painter.addEventListener("progress", (event) => {
    const { kind, received, bytes } = (event as CustomEvent).detail;
    fetched = received < bytes ? `fetching the ${kind}, ${size(received)} of ${size(bytes)}` : "";
    tell();
  });
  painter.addEventListener("error", (event) => {
    problem(`Pictures are painted more coarsely: ${words((event as CustomEvent).detail)}.`);
  });
}

function askAgain(why: string): Promise<void> {
  return new Promise((resolve) =>
    problem(
      why,
      button("Try again", () => resolve(), { class: "" }),
    ),
  );
}

function askForToken(wasWrong: boolean): Promise<string> {
  return new Promise((resolve) => {
    const enter = (): void => resolve(field.value.trim());
    const field: HTMLInputElement = element("input", {
      type: "password",
      "aria-label": "Token",
      autocomplete: "off",
      onkeydown: (event) => (event as KeyboardEvent).key === "Enter" && enter(),
    });
    const text = wasWrong
      ? "The server does not take this token. Its operator gives another."
      : "This server asks for a token, which its operator gives.";
    problem(text, field, button("Connect", enter, { class: "" }));
    field.focus();
  });
}
