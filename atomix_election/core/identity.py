"""Which store the targets of a client serve: one and the same, or the client is told wrong."""

from atomix_election.errors import InvalidRequest


class StoreIdentities:
    """What each target has said of its store, for as long as the client lives.

    A target whose store became another one is believed: it was replaced, and what others said before is out of date.
    A target that is new, or was not heard since, and serves another store than the one in use is refused: two stores
    elect two leaders.
    """

    def __init__(self) -> None:
        self._serves: dict[str, str] = {}

    def check(self, target: str, store_id: str) -> bool:
        """Take note of what a target says of its store, and return whether it was replaced by another one.

        Raises:
            InvalidRequest: it is another one than that of the target in use.
        """
        replaced = self._serves.get(target, store_id) != store_id
        if replaced:
            self._serves.clear()
        for other, other_id in self._serves.items():
            if other_id != store_id:
                raise InvalidRequest(
                    f"the targets {other} and {target} serve different stores, {other_id} and {store_id}: "
                    f"{target} is not used; all targets of a client must serve the same elections"
                )
        self._serves[target] = store_id
        return replaced
