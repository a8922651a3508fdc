"""Which call made which change: a matching of steps and calls, made longer by augmenting paths (Kuhn, 1955)."""

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

_StepT = TypeVar("_StepT")
_CallT = TypeVar("_CallT")


class Matching(Generic[_StepT, _CallT]):
    """Each step is made by at most one call, and each call makes at most one step.

    What has to be matched stays so once it is. If there is a matching of all such steps, and one of all such calls,
    then there is one of both (Mendelsohn and Dulmage, 1958), and it is found.

    Args:
        calls_of: returns the calls that may have made a step.
        steps_of: returns the steps that a call may have made.
        step_is_free: whether a step needs no call.
        call_is_free: whether a call needs no step.
    """

    def __init__(
        self,
        calls_of: Callable[[_StepT], Iterable[_CallT]],
        steps_of: Callable[[_CallT], Iterable[_StepT]],
        step_is_free: Callable[[_StepT], bool],
        call_is_free: Callable[[_CallT], bool],
    ) -> None:
        self._calls_of = calls_of
        self._steps_of = steps_of
        self._step_is_free = step_is_free
        self._call_is_free = call_is_free
        self.call_of: dict[_StepT, _CallT] = {}
        self.step_of: dict[_CallT, _StepT] = {}

    def match(self, step: _StepT, call: _CallT) -> None:
        """Begin with a pair."""
        self.call_of[step] = call
        self.step_of[call] = step

    def cover_step(self, step: _StepT) -> tuple[list[_StepT], list[_CallT]]:
        """Match a step. If that is not possible, return steps of which there are more than calls that may make them."""
        from_step: dict[_CallT, _StepT] = {}
        waiting, reached = [step], {step}
        while waiting:
            each = waiting.pop()
            for call in self._calls_of(each):
                if call in from_step:
                    continue
                from_step[call] = each
                other = self.step_of.get(call)
                if other is None or self._step_is_free(other):
                    if other is not None:
                        del self.call_of[other]
                    self._take_call(call, from_step, step)
                    return [], []
                if other not in reached:
                    reached.add(other)
                    waiting.append(other)
        return list(reached), list(from_step)

    def _take_call(self, call: _CallT, from_step: dict[_CallT, _StepT], step: _StepT) -> None:
        while True:
            each = from_step[call]
            former = self.call_of.get(each)
            self.match(each, call)
            if each == step or former is None:
                return
            call = former

    def cover_call(self, call: _CallT) -> tuple[list[_CallT], list[_StepT]]:
        """Match a call. If that is not possible, return calls of which there are more than steps for them."""
        from_call: dict[_StepT, _CallT] = {}
        waiting, reached = [call], {call}
        while waiting:
            each = waiting.pop()
            for step in self._steps_of(each):
                if step in from_call:
                    continue
                from_call[step] = each
                other = self.call_of.get(step)
                if other is None or self._call_is_free(other):
                    if other is not None:
                        del self.step_of[other]
                    self._take_step(step, from_call, call)
                    return [], []
                if other not in reached:
                    reached.add(other)
                    waiting.append(other)
        return list(reached), list(from_call)

    def _take_step(self, step: _StepT, from_call: dict[_StepT, _CallT], call: _CallT) -> None:
        while True:
            each = from_call[step]
            former = self.step_of.get(each)
            self.match(step, each)
            if each == call or former is None:
                return
            step = former
