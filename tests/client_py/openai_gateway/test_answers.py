"""Failures as they are told to an SDK: status, kind, and whether to ask again."""

from __future__ import annotations

import pytest
from rowcast.codes import CloseCode, ErrorCode
from rowcast.errors import (
    ConnectionFailed,
    ConnectionLost,
    DetokenizerError,
    InvalidRequest,
    ProtocolError,
    RequestRefused,
    RowcastError,
)
from rowcast.openai_gateway.answers import BadRequest, event, problem_of


@pytest.mark.parametrize(
    ("error", "status", "kind", "retry"),
    [
        (BadRequest("wrong", "n"), 400, "invalid_request_error", None),
        (InvalidRequest("wrong"), 400, "invalid_request_error", None),
        (RequestRefused(ErrorCode.BAD_PROMPT, "empty"), 400, "invalid_request_error", None),
        (RequestRefused(ErrorCode.FORBIDDEN, "no"), 403, "invalid_request_error", None),
        (RequestRefused(ErrorCode.BUSY, "full", 2_500), 429, "rate_limit_error", "3"),
        (RequestRefused(ErrorCode.INTERNAL, "broken"), 500, "server_error", None),
        (RequestRefused("a new one", "?", 1_000), 500, "server_error", "1"),
        (ConnectionFailed("who?", CloseCode.BAD_TOKEN), 401, "authentication_error", None),
        (ConnectionFailed("fast", CloseCode.RATE_LIMITED), 429, "rate_limit_error", "5"),
        (ConnectionFailed("gone"), 503, "server_error", "5"),
        (ConnectionLost("cut"), 503, "server_error", "5"),
        (ProtocolError("odd"), 502, "server_error", None),
        (DetokenizerError("truncated"), 502, "server_error", None),
        (RowcastError("else"), 500, "server_error", None),
    ],
    ids=repr,
)
def test_a_failure_has_a_status_a_kind_and_a_time_to_come_again(
    error: RowcastError, status: int, kind: str, retry: str | None
) -> None:
    problem = problem_of(error)
    assert problem.status == status
    assert problem.body["error"]["type"] == kind
    assert problem.headers == (
        {"x-should-retry": "false"} if retry is None else {"Retry-After": retry}
    )


def test_an_event_is_two_lines_and_an_empty_one() -> None:
    assert (
        event("error", {"text": "two\nlines"}) == b'event: error\ndata: {"text":"two\\nlines"}\n\n'
    )
