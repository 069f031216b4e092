export * from "./errors.js";
export { Generation, type PictureEvent, viewKeyOf } from "./generation.js";
export type { DetokenizerFile, DoneReason, Limits, Model, Range } from "./messages.js";
export { Grid, Picture, type Sampling } from "./picture.js";
export { RowsFileError, rowsFile, SavedPicture } from "./rows-file.js";
export type { SavedGeneration } from "./saved-generation.js";
export { type GenerateRequest, Session, type SessionOptions } from "./session.js";
export { formatShareLink, parseShareLink, type ShareLink } from "./share-link.js";
