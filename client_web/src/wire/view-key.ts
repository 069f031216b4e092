import { sha256 } from "./sha256.js";

/** By which anybody may watch what has this key. */
export function viewKeyOf(key: Uint8Array): Uint8Array {
  return sha256(Uint8Array.of(...new TextEncoder().encode("rowcast view"), ...key)).slice(0, 16);
}
