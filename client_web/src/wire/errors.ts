/**
 * What can go wrong, by whose fault it is:
 *
 *     RowcastError
 *       InvalidRequest      yours: nothing was sent
 *       RequestRefused      the server refused, or a picture failed (`code`, `retryMilliseconds`)
 *         PictureGone       it is not known there, or kept no longer
 *       ConnectionFailed    there was no connection (`closeCode`, where there is one)
 *         ConnectionLost    it broke, and was not taken up again; pictures hold what had come
 *       ProtocolError       the server broke the protocol
 *       RowsFileError       a file is no .rows file, or is damaged
 */

export class RowcastError extends Error {
  override name = "RowcastError"; // not that of the class, which a minifier changes
}

export class InvalidRequest extends RowcastError {
  override name = "InvalidRequest";
}

export class RequestRefused extends RowcastError {
  override name = "RequestRefused";

  constructor(
    message: string,
    /** Of protocol.md, section 6. */
    readonly code: string,
    /** 0: waiting alone will not help. */
    readonly retryMilliseconds = 0,
  ) {
    super(message);
  }
}

export class PictureGone extends RequestRefused {
  override name = "PictureGone";
}

export class ConnectionFailed extends RowcastError {
  override name = "ConnectionFailed";

  constructor(
    message: string,
    readonly closeCode?: number,
  ) {
    super(message);
  }
}

export class ConnectionLost extends ConnectionFailed {
  override name = "ConnectionLost";
}

export class ProtocolError extends RowcastError {
  override name = "ProtocolError";

  constructor(
    message: string,
    /** That the connection is closed with. */
    readonly closeCode = 4400,
  ) {
    super(message);
  }
}

export class RowsFileError extends RowcastError {
  override name = "RowsFileError";
}
