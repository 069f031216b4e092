export { Client, type ClientOptions, type ClientState, connect } from "./client.js";
export { type Paintable, PictureCanvas, type TierName } from "./pixels/canvas.js";
export { clearFiles, FileFailed, fetchFile } from "./pixels/files.js";
export {
  Painter,
  type PainterOptions,
  type Quality,
  type Shown,
  type Tier,
} from "./pixels/painter.js";
export * from "./wire/index.js";
