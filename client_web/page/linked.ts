/** The server that the page draws with: its own, or that of the share link behind its own `#`. */

import { parseShareLink } from "../src/wire/index.js";
import { button } from "./elements.js";
import { problem, words } from "./telling.js";

/** The WebSocket of the server that the page came from. */
function ownServer(): URL {
  const url = new URL(".", location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  url.search = url.hash = "";
  return url;
}

/** The link, and the server that it leads to, once the user agrees to go there. */
export async function linkedServer(): Promise<{ link?: string; url: URL }> {
  const own = ownServer();
  if (location.hash.length < 2) return { url: own };
  try {
    const link = decodeURIComponent(location.hash.slice(1));
    const url = new URL(parseShareLink(link).url);
    if (url.href === own.href || (await agrees(url))) return { link, url };
  } catch (error) {
    problem(`This page was opened with a link that leads nowhere: ${words(error)}.`);
  }
  return { url: own };
}

function agrees({ host }: URL): Promise<boolean> {
  return new Promise((resolve) => {
    const answer = (isYes: boolean) => () => {
      problem("");
      resolve(isYes);
    };
    problem(
      `This link leads to another server, ${host}. Connect to it?`,
      button(`Connect to ${host}`, answer(true), { class: "" }),
      button("Stay here", answer(false), { class: "" }),
    );
  });
}
