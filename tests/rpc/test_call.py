"""Time limits as headers carry them, and metadata there and back."""

import re
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atomix_election.errors import InvalidRequest
from atomix_election.rpc.call import call_of, encode_timeout, metadata_of, timeout_s
from atomix_election.service import Call

CALM = settings(deadline=None, print_blob=True)
UNITS_S = {
    "H": Fraction(3600),
    "M": Fraction(60),
    "S": Fraction(1),
    "m": Fraction(1, 10**3),
    "u": Fraction(1, 10**6),
    "n": Fraction(1, 10**9),
}
ids = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40)


@CALM
@given(st.integers(0, 99_999_999), st.sampled_from(sorted(UNITS_S)))
def test_a_time_limit_is_digits_and_a_unit(digits: int, unit: str) -> None:
    """In each of gRPC's six units."""
    limit_s = timeout_s([("grpc-timeout", f"{digits}{unit}")])
    assert limit_s == pytest.approx(float(digits * UNITS_S[unit]), rel=1e-12)


@CALM
@given(st.text(max_size=12))
def test_a_time_limit_is_nothing_else(text: str) -> None:
    """Whatever characters there are; an empty value is none."""
    if re.match(r"^[0-9]{1,8}[HMSmun]\Z", text):
        assert timeout_s([("grpc-timeout", text)]) is not None
    elif text:
        with pytest.raises(InvalidRequest):
            timeout_s([("grpc-timeout", text)])
    else:
        assert timeout_s([("grpc-timeout", text)]) is None


@CALM
@given(st.floats(0, 1e12))
def test_an_encoded_limit_is_well_formed_and_never_longer_than_asked(seconds: float) -> None:
    """And not shorter by more than a millisecond, up to the most that eight digits of milliseconds hold."""
    value = encode_timeout(seconds)
    match = re.fullmatch(r"([0-9]{1,8})([mu])", value)
    assert match is not None
    said = int(match[1]) * UNITS_S[match[2]]
    assert said <= Fraction(seconds) * (1 + Fraction(1, 10**12))  # what a float's last digits are worth
    assert said >= min(Fraction(seconds), Fraction(99_999)) - Fraction(1, 1000)


@pytest.mark.parametrize(
    ("seconds", "value"),
    [
        (-1.0, "0u"),
        (0.0, "0u"),
        (1e-7, "0u"),
        (0.25, "250000u"),
        (5.0, "5000000u"),
        (10.0, "10000m"),
        (1e9, "99999999m"),
    ],
)
def test_limits_by_example(seconds: float, value: str) -> None:
    """What is over is no time at all; what is too long for the header is cut."""
    assert encode_timeout(seconds) == value


@CALM
@given(st.builds(Call, ids, ids, st.just("") | ids, st.none() | st.integers(1, 10**18 - 1)))
def test_metadata_says_what_the_call_says(call: Call) -> None:
    """There and back; the three published keys are always sent."""
    metadata = metadata_of(call)
    assert call_of([(":path", "/x"), *metadata, ("user-agent", "test")]) == call
    assert [key for key, _ in metadata][:3] == ["primitive-id", "application-id", "session-id"]
