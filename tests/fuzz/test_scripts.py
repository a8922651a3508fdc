"""What a script is, and what is found wrong with what comes of it."""

import pytest

from tests.fuzz.heard import Answer, Heard
from tests.fuzz.hostile import Answering, Frame, answering
from tests.fuzz.scripts import Due, Script, script
from tests.rpc.attacks import DATA, END_HEADERS, GET_TERM, GREETING, HEADERS, PREFACE, call, http2_frame, settings

CALL = GREETING + call(1)


@pytest.mark.parametrize(
    ("data", "whole"),
    [
        (b"", False),
        (PREFACE[:-1], False),
        (GREETING, True),
        (CALL, True),
        (CALL[:-1], False),
        (GREETING + http2_frame(HEADERS, 0, 1, GET_TERM), False),
        (GREETING + http2_frame(HEADERS, 0, 1, GET_TERM) + http2_frame(9, END_HEADERS, 1), True),
        (b"GET / HTTP/1.1\r\n\r\n", False),
    ],
)
def test_a_script_knows_whether_another_frame_may_follow(data: bytes, whole: bool) -> None:
    """A ping, by which one sees that all was read."""
    assert Script("", data).is_whole is whole


def test_a_script_is_cut_where_it_says() -> None:
    """And nothing is lost."""
    script = Script("", CALL, cuts=(3, 3, 0, 40, len(CALL)))
    assert [len(each) for each in script.pieces] == [3, 37, len(CALL) - 40]
    assert b"".join(script.pieces) == CALL


@pytest.mark.parametrize("cuts", [(), (3, 40)])
def test_what_is_printed_can_be_sent_again(cuts: tuple[int, ...]) -> None:
    """The same, and it is judged in the same way."""
    due = Due(1, frozenset([0, 3]), b"x"), Due(3)
    one = Script("replay", CALL, cuts, "hang up", due, (5, 7), lasts=True, code=6)
    assert script(one.replay()) == one


def test_so_can_what_a_server_has_said() -> None:
    """To the call, and beside it."""
    frames = (Frame(HEADERS, 4, -1, b"\x88"), Frame(DATA, 0, 3, b"x"))
    one = Answering("enter", settings(), frames, (1, 2), hangs_up=True)
    assert answering(one.replay()) == one


def listening(*answers: tuple[int, Answer], goaway: tuple[int, bytes] | None = None, closed: bool = False) -> Heard:
    """Return what was heard."""
    heard = Heard()
    heard.answers, heard.goaway, heard.closed = dict(answers), goaway, closed
    return heard


OK = Answer([(b"grpc-status", b"0")], b"x", ended=True)
DUE = Script("", CALL, due=(Due(1, frozenset([0]), b"x"),))


def test_what_is_due_has_to_come() -> None:
    """As it is due, unless the connection is closed for something."""
    assert DUE.check(listening((1, OK))) is None
    assert "not answered" in str(DUE.check(listening()))
    assert "not answered" in str(DUE.check(listening((1, Answer(OK.headers)))))
    assert "status" in str(DUE.check(listening((1, Answer([(b"grpc-status", b"3")], b"x", ended=True)))))
    assert "78" in str(DUE.check(listening((1, Answer(OK.headers, b"y", ended=True)))))
    assert DUE.check(listening(goaway=(1, b""), closed=True)) is None


def test_a_connection_ends_for_a_reason_and_with_a_word() -> None:
    """The right one, where that is known."""
    assert "without a GOAWAY" in str(DUE.check(listening(closed=True)))
    assert "no reason" in str(Script("", CALL, lasts=True).check(listening(goaway=(1, b""))))
    assert Script("", CALL, code=6).check(listening(goaway=(6, b""), closed=True)) is None
    assert "error 6" in str(Script("", CALL, code=6).check(listening(goaway=(1, b""), closed=True)))
    assert "error 6" in str(Script("", CALL, code=6).check(listening((1, OK))))
