"""What breaks HTTP/2, one rule at a time: the connection is closed with the error that the rule names."""

from dataclasses import replace

from hypothesis import strategies as st

from tests.fuzz.builder import Builder
from tests.fuzz.scripts import Script
from tests.rpc.attacks import PREFACE, settings
from tests.rpc.violations import PROTOCOL_ERROR, VIOLATIONS


@st.composite
def violations(draw: st.DrawFn) -> Script:
    """Good calls, and then what breaks a rule: the connection is closed with the error that the rule names."""
    builder = Builder(draw)
    for _ in range(draw(st.integers(0, 2))):
        builder.known_call()
        builder.cut()
    violation = VIOLATIONS[draw(st.sampled_from(sorted(VIOLATIONS)))]
    builder.data += violation.frames(builder.stream())
    if draw(st.booleans()):
        builder.known_call()
    script = builder.script("violations", code=violation.code)
    return replace(script, due=(), hoped=())


def broken_prefaces() -> st.SearchStrategy[Script]:
    """What is no preface of HTTP/2."""
    return st.builds(
        lambda place, bits: Script(
            "prefaces",
            PREFACE[:place] + bytes([PREFACE[place] ^ bits]) + PREFACE[place + 1 :] + settings(),
            code=PROTOCOL_ERROR,
        ),
        st.integers(0, len(PREFACE) - 1),
        st.integers(1, 255),
    )
