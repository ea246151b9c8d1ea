"""How many requests a key may make."""

import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import pytest
from google.rpc import error_details_pb2
from grpc import StatusCode

from protos.twinspire.v1 import encoders_pb2, search_pb2
from server.access import TokenBucket
from server.keys import add_key
from server.permissions import HEALTH, Role
from server.shared_rates import SLOTS, SharedRates
from tests.server.keyed import bearer, eventually, keyed_server
from tests.server.running import Failure, Running
from tests.server.workspaces import COLLECTION

SEARCH = "twinspire.v1.SearchService/Search"
BATCH = "twinspire.v1.SearchService/BatchSearch"


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def one() -> search_pb2.SearchRequest:
    return search_pb2.SearchRequest(collection=COLLECTION, query=search_pb2.Query(text="north"))


def batch(count: int) -> bytes:
    return search_pb2.BatchSearchRequest(requests=[one()] * count).SerializeToString()


def test_a_bucket_lets_a_seconds_worth_through_at_once() -> None:
    bucket = TokenBucket(5.0, Clock())

    for _ in range(5):
        assert bucket.wait_s(1) == 0
        bucket.take(1)

    assert bucket.wait_s(1) == pytest.approx(0.2)


def test_a_bucket_fills_again_and_no_further() -> None:
    clock = Clock()
    bucket = TokenBucket(5.0, clock)
    bucket.take(5)
    clock.now = 1000.0

    assert (bucket.wait_s(5), bucket.wait_s(6)) == (0, 0)
    bucket.take(5)
    assert bucket.wait_s(1) == pytest.approx(0.2)


def test_a_batch_above_the_bucket_passes_when_it_is_full_and_is_paid_off() -> None:
    bucket = TokenBucket(5.0, Clock())

    assert bucket.wait_s(50) == 0
    bucket.take(50)

    assert bucket.wait_s(1) == pytest.approx((45 + 1) / 5)


def test_a_rate_below_one_lets_one_through_at_a_time() -> None:
    bucket = TokenBucket(0.5, Clock())
    bucket.take(1)

    assert bucket.wait_s(1) == pytest.approx(2.0)


def test_over_the_rate_is_a_resource_exhausted_with_when_to_come_back(
    start_server: Callable[..., Running], tmp_path: Path
) -> None:
    keyed = keyed_server(start_server, tmp_path, rate_limit=0.1)
    assert isinstance(keyed.as_role(Role.READ, SEARCH, one().SerializeToString()), bytes)

    failure = keyed.as_role(Role.READ, SEARCH, one().SerializeToString())

    assert isinstance(failure, Failure)
    assert (failure.code, failure.reason) == (StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED")
    retry = failure.detail(error_details_pb2.RetryInfo).retry_delay
    assert 5 < retry.ToTimedelta().total_seconds() <= 10
    (violation,) = failure.detail(error_details_pb2.QuotaFailure).violations
    assert violation.subject == "key:read"


def test_keys_are_limited_one_by_one(start_server: Callable[..., Running], tmp_path: Path) -> None:
    keyed = keyed_server(start_server, tmp_path, rate_limit=0.1)
    for role in Role:
        assert isinstance(keyed.as_role(role, SEARCH, one().SerializeToString()), bytes)


def test_a_key_may_have_a_rate_of_its_own(start_server: Callable[..., Running], tmp_path: Path) -> None:
    own = add_key(tmp_path / "keys.json", "batch-job", Role.READ, rate_limit=0)
    keyed = keyed_server(start_server, tmp_path, rate_limit=0.1)

    answers = [keyed.call(SEARCH, one().SerializeToString(), metadata=bearer(own)) for _ in range(5)]

    assert all(isinstance(answer, bytes) for answer in answers)


def test_a_batch_counts_its_requests(start_server: Callable[..., Running], tmp_path: Path) -> None:
    keyed = keyed_server(start_server, tmp_path, rate_limit=4.0)
    assert isinstance(keyed.as_role(Role.READ, BATCH, batch(40)), bytes)

    failure = keyed.as_role(Role.READ, SEARCH, one().SerializeToString())

    assert isinstance(failure, Failure)
    assert failure.detail(error_details_pb2.RetryInfo).retry_delay.seconds >= 7


def test_encoding_counts_its_inputs(start_server: Callable[..., Running], tmp_path: Path) -> None:
    keyed = keyed_server(start_server, tmp_path, rate_limit=4.0)
    inputs = [encoders_pb2.EncodeInput(text="north")] * 40
    request = encoders_pb2.EncodeRequest(collection=COLLECTION, inputs=inputs)
    keyed.as_role(Role.READ, "twinspire.v1.EncoderService/Encode", request.SerializeToString())

    failure = keyed.as_role(Role.READ, SEARCH, one().SerializeToString())

    assert isinstance(failure, Failure)
    assert failure.detail(error_details_pb2.RetryInfo).retry_delay.seconds >= 7


def test_reading_the_keys_again_gives_nobody_their_rate_back(
    start_server: Callable[..., Running], tmp_path: Path
) -> None:
    keyed = keyed_server(start_server, tmp_path, rate_limit=0.1)
    keyed.as_role(Role.READ, SEARCH, one().SerializeToString())
    new = bearer(add_key(keyed.file, "another", Role.READ))
    health = f"{HEALTH}/Check"
    assert eventually(
        lambda: (
            isinstance(keyed.call(SEARCH, one().SerializeToString(), metadata=new), bytes)
            or isinstance(keyed.call(health), Failure)
        )
    )

    assert isinstance(keyed.as_role(Role.READ, SEARCH, one().SerializeToString()), Failure)


def test_the_rate_comes_back_with_time(start_server: Callable[..., Running], tmp_path: Path) -> None:
    keyed = keyed_server(start_server, tmp_path, rate_limit=20.0)
    keyed.as_role(Role.READ, BATCH, batch(30))

    time.sleep(0.8)

    assert isinstance(keyed.as_role(Role.READ, SEARCH, one().SerializeToString()), bytes)


def test_buckets_of_a_key_are_one_in_shared_memory() -> None:
    rates = SharedRates(get_context("spawn"))
    here, there = rates.bucket(b"a" * 32, 0.5), rates.bucket(b"a" * 32, 0.5)
    other = rates.bucket(b"b" * 32, 0.5)
    assert here
    assert there
    assert other

    here.take(1)

    assert 1.5 < there.wait_s(1) <= 2.0
    assert other.wait_s(1) == 0


def test_a_shared_bucket_does_what_one_alone_does() -> None:
    clock = Clock()
    shared = SharedRates(get_context("spawn"), clock).bucket(b"a" * 32, 5.0)
    assert shared
    alone = TokenBucket(5.0, clock)

    for cost, seconds in ((3, 0.1), (50, 1.0), (1, 100.0), (7, 0.0), (1, 0.5)):
        assert shared.wait_s(cost) == pytest.approx(alone.wait_s(cost))
        shared.take(cost)
        alone.take(cost)
        clock.now += seconds


def test_keys_beyond_the_room_are_not_shared() -> None:
    rates = SharedRates(get_context("spawn"))
    for number in range(1, SLOTS + 1):
        rates.bucket(number.to_bytes(32, "little"), 1.0)

    assert rates.bucket(b"x" * 32, 1.0) is None
