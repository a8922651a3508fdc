"""What was recorded is read again, also after the process that recorded it was killed in the middle."""

from pathlib import Path

from atomix_election import Term
from atomix_election.testing.history import (
    DONE,
    Answered,
    Called,
    Entry,
    Fault,
    Gone,
    History,
    Led,
    Recorder,
    Renewed,
    Restored,
    Seen,
    Stood,
    Up,
    Waited,
    read_history,
)

LED = Led("a", "e", "a", 1, 2.0, 3.0)
ENTRIES: list[Entry] = [
    Answered("a", "enter", "e", "a", 1.0, 2.0, DONE, Term(("a", "b"), 1, 2)),
    Answered("a", "evict", "e", "b", 1.0, 2.0, "OutcomeUnknown"),
    Called("a", "evict", "e", "b", 1.0, "s", 4, 7),
    Renewed("a", "s", 1.0, 2.0, 6.0),
    Seen("a 1", "e", 1.0, 2.0, Term(("a",), 1, 1), snapshot=True),
    Seen("a 1", "e", 1.0, 3.0, Term(("a",), 1, 2), skipped=True, since=2.5),
    Waited("a 1", "e", 1.0, 3.0, 4.0),
    LED,
    Gone("a", 2.0, 5.0),
    Up(1.0, 2.0),
    Stood("a", "e", 1.0),
    Fault("quorum lost", 1.0, 2.0),
    Restored(2.0, 3.0, 8.0, 1 << 50),
]


def test_records_come_back(tmp_path: Path) -> None:
    """All kinds, in order, of several files; what a process was killed in the middle of is left out."""
    for number, entries in enumerate((ENTRIES[:2], ENTRIES[2:])):
        with Recorder(tmp_path / f"{number}") as record:
            for each in entries:
                record(each)
    with (tmp_path / "1").open("a") as file:
        file.write('["Up", {"begun": 1.')
    assert read_history(sorted(tmp_path.iterdir())) == ENTRIES


def test_an_end_replaces_its_beginning(tmp_path: Path) -> None:
    """Who has been killed has only begun."""
    ended, other = Led("a", "e", "a", 1, 2.0, 3.0, 4.0, "EXPIRED"), Led("b", "e", "b", 2, 2.0, 5.0)
    left, stays = Stood("a", "e", 3.0, 4.0), Stood("a", "f", 3.0)
    with Recorder(tmp_path / "records") as record:
        for each in (LED, other, Stood("a", "e", 3.0), stays, ended, left):
            record(each)
    assert read_history([tmp_path / "records"]) == [ended, other, left, stays]


def test_an_answer_replaces_its_call() -> None:
    """In memory as in files; a call without a number has no record of its beginning, and stands for itself."""
    history = History(lambda: 3.0)
    called, other = (Called("a", "evict", "e", "b", 1.0, "s", number, number) for number in (1, 2))
    unnumbered = Answered("a", "get_term", "e", "", 1.0, 2.0)
    for each in (called, other, unnumbered, unnumbered, called.answered(history.now(), "NotACandidate")):
        history(each)
    answered = Answered("a", "evict", "e", "b", 1.0, 3.0, "NotACandidate", Term(), "s", 1, 1)
    assert history.entries == [answered, other, unnumbered, unnumbered]
    assert (len(history), list(history)) == (4, history.entries)
