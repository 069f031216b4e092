/**
 * What can go wrong, by whose fault it is:
 *
 *     RowcastError
 *       InvalidRequest      yours: nothing was sent
 *       RequestRefused      the server refused, or a picture failed (`code`, `retryMilliseconds`)
 *         PictureGone       it is not known there, or kept no longer
 *       ConnectionFailed    there was no connection (`closeCode`, where there is one)
 *       ConnectionLost      it broke, and was not taken up again; pictures hold what had come
 *       ProtocolError       the server broke the protocol
 */

export class RowcastError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
  }
}

export class InvalidRequest extends RowcastError {}

export class RequestRefused extends RowcastError {
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

export class PictureGone extends RequestRefused {}

export class ConnectionFailed extends RowcastError {
  constructor(
    message: string,
    readonly closeCode?: number,
  ) {
    super(message);
  }
}

export class ConnectionLost extends ConnectionFailed {}

export class ProtocolError extends RowcastError {
  constructor(
    message: string,
    /** That the connection is closed with. */
    readonly closeCode = 4400,
  ) {
    super(message);
  }
}
