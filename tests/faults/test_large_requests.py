"""Requests that are large and bad: their memory comes back."""

import time
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.faults import http2
from tests.faults.served import TIMEOUT_S, serve

BODY = bytes(12 << 20)  # no message: field 0 does not exist
ROOM = 128 << 20  # of 576 MB that were sent: what came while the last was given back


@pytest.mark.slow
def test_large_requests_that_are_refused_leave_no_memory_behind(root: Path) -> None:
    options = [("grpc.max_send_message_length", -1)]
    with serve(root) as server:
        assert server.lives()
        before = server.memory
        with grpc.insecure_channel(f"127.0.0.1:{server.port}", options=options) as channel:
            call: Any = channel.unary_unary(http2.SEARCH)
            for _ in range(3):
                calls = [call.future(BODY, timeout=TIMEOUT_S) for _ in range(16)]
                codes = {each.code() for each in calls}
                assert codes == {grpc.StatusCode.INVALID_ARGUMENT}
        deadline = time.monotonic() + TIMEOUT_S
        while server.memory - before > ROOM and time.monotonic() < deadline:
            call_again = [server.search() for _ in range(20)]
            assert call_again
            time.sleep(0.2)

        assert server.memory - before < ROOM
        assert server.lives()
