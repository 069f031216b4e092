/** The page's server: its address, the connection, what paints. */

import { Client } from "../src/client.js";
import { Painter } from "../src/pixels/painter.js";
import { ConnectionFailed } from "../src/wire/index.js";
import { button, element, part } from "./elements.js";
import { problem, say, words } from "./telling.js";

const BAD_TOKEN = 4403;
const TOKEN = "rowcast token"; // in sessionStorage

export interface Studio {
  readonly client: Client;
  readonly painter: Painter;
}

/** The WebSocket of the server that the page came from. */
export function ownServer(): URL {
  const url = new URL(".", location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  url.search = url.hash = "";
  return url;
}

/** Connect, and again as often as the user wants; resolves once there is a connection. */
export async function openStudio(url: URL): Promise<Studio> {
  for (;;) {
    const token = sessionStorage.getItem(TOKEN) ?? undefined;
    try {
      part("server").textContent = `connecting to ${url.host} …`;
      const client = await Client.connect(url, {
        ...(token !== undefined && { token }),
        waitWhenBusySeconds: 120,
      });
      problem("");
      const painter = new Painter(client, { quality: "preview", ...(token && { token }) });
      watch(client, painter);
      return { client, painter };
    } catch (error) {
      part("server").textContent = `no connection to ${url.host}`;
      const asks = error instanceof ConnectionFailed && error.closeCode === BAD_TOKEN;
      await (asks ? askForToken(token !== undefined) : askAgain(words(error)));
    }
  }
}

/** Tell the state of the connection, and of the files. */
function watch(client: Client, painter: Painter): void {
  const place = part("server");
  const tell = () => {
    const states = {
      open: client.url.host,
      idle: client.url.host,
      reconnecting: `the link to ${client.url.host} broke; taking it up again …`,
      closed: `the connection to ${client.url.host} is lost; reload to connect again`,
    };
    place.textContent = states[client.state];
    if (client.state === "reconnecting" || client.state === "closed") say(place.textContent);
  };
  tell();
  client.addEventListener("statechange", tell);
  painter.addEventListener("progress", (event) => {
    const { kind, received, bytes } = (event as CustomEvent).detail;
    const percent = Math.floor((100 * received) / bytes);
    place.textContent =
      received < bytes
        ? `${client.url.host} · fetching the ${kind} decoder, ${percent} %`
        : client.url.host;
  });
  painter.addEventListener("error", (event) => {
    problem(`Pictures are painted more coarsely: ${words((event as CustomEvent).detail)}`);
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

function askForToken(wasWrong: boolean): Promise<void> {
  return new Promise((resolve) => {
    const field = element("input", {
      type: "password",
      "aria-label": "Token",
      autocomplete: "off",
      onkeydown: (event) => (event as KeyboardEvent).key === "Enter" && enter(),
    });
    const enter = () => {
      sessionStorage.setItem(TOKEN, field.value.trim());
      resolve();
    };
    const text = wasWrong
      ? "The server does not take this token. Its operator gives another:"
      : "This server asks for a token, which its operator gives:";
    problem(text, field, button("Connect", enter, { class: "" }));
    field.focus();
  });
}
