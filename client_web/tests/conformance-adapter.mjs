/**
 * The adapter of this package for tests/conformance: tasks on stdin, events on stdout, as JSON.
 *
 *     npm run build
 *     node --experimental-websocket tests/conformance-adapter.mjs   (Node.js 22 needs no option)
 */

import { createHash } from "node:crypto";
import { createInterface } from "node:readline";
import { connect, fetchFile, RequestRefused } from "../dist/index.js";

const REASONS = ["complete", "stop_row", "cancelled", "deadline", "left"];
const BYTES = ["prefix", "revision"];

const clients = new Map(); // by URL: a promise of the client that is open there, and what ends it
const tasks = new Map(); // by number: its URL, and what ends it

const tell = (event, fields) => process.stdout.write(`${JSON.stringify({ event, ...fields })}\n`);
const fromHex = (text) => new Uint8Array(Buffer.from(text, "hex"));
const toHex = (bytes) => Buffer.from(bytes).toString("hex");
const camelCase = (name) => name.replace(/_(.)/g, (_, letter) => letter.toUpperCase());

function clientOf({ url, token, patience_ms: patience }) {
  if (!clients.has(url)) {
    const ending = new AbortController();
    const client = connect(url, {
      signal: ending.signal,
      reconnectSeconds: patience / 1_000,
      waitWhenBusySeconds: patience / 1_000,
      ...(token !== null && { token }),
    });
    client.catch(() => clients.delete(url));
    clients.set(url, { client, ending });
  }
  return clients.get(url).client;
}

function begin(client, line, signal) {
  if (line.do === "watch") {
    const { view_key: viewKey, image: firstImage, images } = line;
    return client.watch({ viewKey: fromHex(viewKey), firstImage, images }, { signal });
  }
  const options = Object.entries(line.options).map(([name, value]) => [
    camelCase(name),
    BYTES.includes(name) ? fromHex(value) : (value ?? undefined),
  ]);
  const { prompt, images } = line;
  return client.generate({ prompt, images, signal, ...Object.fromEntries(options) });
}

async function follow(line, signal) {
  const { task } = line;
  const client = await clientOf(line);
  if (line.do === "fetch") {
    const file = client.models[0].files.find(({ kind }) => kind === line.kind);
    const bytes = await fetchFile(file, client.url, { signal });
    tell("file", { task, sha256: createHash("sha256").update(bytes).digest("hex") });
    return;
  }
  for await (const event of begin(client, line, signal)) {
    const { type, index, picture } = event;
    if (type === "rows") {
      const { firstRow, count } = event;
      const first = firstRow * picture.cols * picture.idBytes;
      const ids = toHex(picture.prefix(firstRow + count).subarray(first));
      tell("rows", { task, index, first_row: firstRow, ids });
    } else if (type === "done") {
      const reason = REASONS.includes(event.reason) ? REASONS.indexOf(event.reason) : event.reason;
      tell("done", { task, index, rows: picture.rowsHeld, reason });
    }
  }
}

async function run(line) {
  const { task } = line;
  const ending = new AbortController();
  tasks.set(task, { url: line.url, ending });
  try {
    await follow(line, ending.signal);
  } catch (error) {
    if (ending.signal.aborted) return;
    const code = error instanceof RequestRefused ? error.code : null;
    tell("failed", { task, code, text: String(error) });
  }
}

function close(url) {
  for (const [number, task] of tasks) {
    if (task.url !== url) continue;
    task.ending.abort();
    tasks.delete(number);
  }
  clients.get(url)?.ending.abort();
  clients.delete(url);
  tell("closed", { url });
}

tell("ready");
for await (const text of createInterface({ input: process.stdin })) {
  const line = JSON.parse(text);
  if (line.do === "cancel") tasks.get(line.task).ending.abort();
  else if (line.do === "close") close(line.url);
  else void run(line);
}
process.exit(0);
