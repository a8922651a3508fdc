"""A way through the model, told so that one can follow it."""

from collections.abc import Iterator, Sequence

from tests.model.messages import INSTANTS_PER_TTL, Answered, Message, Renewal, Replied, Write
from tests.model.parts import Label, Rates, State
from tests.model.world import World

TOLD_TTL_S = 10
"""The time-to-live that times are told for, in seconds of real time."""


def transcript(world: World, path: Sequence[tuple[Label | None, State]]) -> Iterator[str]:
    """Tell what happens on the way, a line for each step: when it happens, what it is, and who acts as the leader then.

    Where there is no way, nothing is told.
    """
    if not path:
        return
    _, state = path[0]
    yield _clocks(state.rates)
    queue = " ".join(each.id for each in state.server.value.queue) or "empty"
    instants = 0
    for label, after in path:
        instants += label.instants if label else 0
        what = _happening(label) if label else f"the queue is {queue}"
        acting = world.acting(after)
        acts = f"{' and '.join(acting) or 'nobody'} act{'s' if len(acting) < 2 else ''}"
        yield f"{seconds(instants):7.3f} s  {what}  [{acts}]"


def seconds(instants: int) -> float:
    """Return how long so many instants are, told for the time-to-live of ``TOLD_TTL_S``."""
    return instants * TOLD_TTL_S / INSTANTS_PER_TTL


def _clocks(rates: Rates) -> str:
    """Say how the clocks go."""
    ways = {99: "1 % slow", 100: "right", 101: "1 % fast"}
    names = ["the server's", "a's", "b's", "c's"]
    return "clocks: " + ", ".join(f"{name} {ways[rate]}" for name, rate in zip(names, rates, strict=False))


def _happening(label: Label) -> str:
    if label.instants:
        return "time has passed"
    return f"{label.who} {label.what} {_said(label.message)}" if label.message else f"{label.who} {label.what}"


def _said(message: Message) -> str:
    match message:
        case Renewal():
            over = [f"token {granted.number} is over" for granted in message.stepped_down]
            confirms = f", which confirms that {' and '.join(over)}" if over else ""
            return f"renewal {message.renewal} of {message.client}{confirms}"
        case Write():
            return f"{message.kind.value} of {message.client}"
        case Replied():
            return "the reply that its session has ended" if message.term is None else "the reply to its write"
        case Answered():
            return f"the answer to renewal {message.answer.renewal}: {_answer(message)}"


def _answer(message: Answered) -> str:
    answer = message.answer
    if answer.ended:
        return "the session has ended"
    leads = [f"it leads under token {granted.number}" for granted in answer.leaderships]
    taken = [f"token {revoked.granted.number} was taken from it" for revoked in answer.revoked]
    return ", ".join(leads + taken) or "it leads nowhere"
