"""The guard in memory, and what both guards refuse."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atomix_election.errors import ElectionError, InvalidRequest
from atomix_election.fencing import MAX_TOKEN, FencingGuard, StaleToken

tokens = st.one_of(st.integers(1, 5), st.integers(1, MAX_TOKEN))

HUGE = pytest.param(1 << 20_000, id="huge")  # Python refuses to write it out in digits
NEVER_NUMBERS: list[Any] = [-1, MAX_TOKEN + 1, HUGE, True, False, 1.0, "1", None]


@given(st.lists(tokens))
def test_accepted_is_what_is_no_older_than_any_before(sent: list[int]) -> None:
    guard = FencingGuard()
    newest = 0
    for token in sent:
        if token >= newest:
            guard.check(token)
            newest = token
        else:
            with pytest.raises(StaleToken) as refused:
                guard.check(token)
            assert (refused.value.token, refused.value.newest) == (token, newest)
        assert guard.newest == newest


@given(st.integers(0, MAX_TOKEN), tokens)
def test_a_guard_goes_on_where_it_is_told(newest: int, token: int) -> None:
    guard = FencingGuard(newest)
    if token >= newest:
        guard.check(token)
    else:
        with pytest.raises(StaleToken):
            guard.check(token)
    assert guard.newest == max(newest, token)


@pytest.mark.parametrize("number", [0, *NEVER_NUMBERS])
def test_what_is_no_token_is_refused(number: Any) -> None:
    guard = FencingGuard(1)
    with pytest.raises(InvalidRequest, match="is not an int from 1 to"):
        guard.check(number)
    assert guard.newest == 1


@pytest.mark.parametrize("number", NEVER_NUMBERS)
def test_a_guard_does_not_begin_with_what_is_no_token(number: Any) -> None:
    with pytest.raises(InvalidRequest, match="newest"):
        FencingGuard(number)


def test_the_refusal_says_what_to_do_and_travels_between_processes() -> None:
    error = pickle.loads(pickle.dumps(StaleToken(3, 5)))
    assert isinstance(error, StaleToken)
    assert isinstance(error, ElectionError)
    assert (error.token, error.newest) == (3, 5)
    assert "token 3 is stale, the resource has seen 5" in str(error)
    assert "no longer leads. Stop" in str(error)


def test_threads_never_bring_the_newest_down() -> None:
    guard = FencingGuard()
    threads, checks = 8, 2000
    start = Barrier(threads)

    def send(first: int) -> list[tuple[int, bool, int]]:
        start.wait()
        outcomes: list[tuple[int, bool, int]] = []
        for token in range(first, first + checks * threads, threads):
            try:
                guard.check(token)
            except StaleToken as error:
                outcomes.append((token, False, error.newest))
            else:
                outcomes.append((token, True, guard.newest))
        return outcomes

    with ThreadPoolExecutor(threads) as executor:
        outcomes = [outcome for sent in executor.map(send, range(1, threads + 1)) for outcome in sent]
    accepted = {token for token, was_accepted, _ in outcomes if was_accepted}
    assert all(newest >= token + (not was_accepted) for token, was_accepted, newest in outcomes)
    # Whatever a refusal names as newest was accepted from somebody.
    assert {newest for _, was_accepted, newest in outcomes if not was_accepted} <= accepted
    assert guard.newest == max(accepted) == checks * threads
