"""``list``: every election of a namespace, for people and for scripts."""

import json
from datetime import datetime

import pytest

from atomix_election.cli import main
from atomix_election.service import PAGE_SIZE, Call, ElectionService
from tests.cli.processes import enter, with_service


def enter_many(target: str, namespace: str, names: list[str]) -> None:
    """Enter one candidate in each election."""

    async def work(service: ElectionService) -> None:
        for name in names:
            call = Call(name, namespace, session="of-the-test")
            await service.create(call)
            await service.enter(call, "a")

    with_service(target, work)


def test_json_is_one_object_a_line(target: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With these names; in order."""
    enter(target, "two", "b", namespace="list-json")
    enter(target, "one", "a", "b", namespace="list-json")
    assert main(["list", "--target", target, "--namespace", "list-json", "--json"]) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert datetime.fromisoformat(first["began_at"]).tzinfo is not None
    shape = {"election": "one", "leader": "a", "candidate_count": 2, "number": 1, "revision": 2}
    assert first == shape | {"began_at": first["began_at"]}
    assert (second["election"], second["leader"]) == ("two", "b")


def test_a_long_list_comes_in_aligned_columns(target: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Over more than one page: a title, then each election once."""
    names = [f"election-{number:04}" for number in range(2 * PAGE_SIZE + 10)]
    enter_many(target, "list-long", names)
    assert main(["list", "--target", target, "--namespace", "list-long"]) == 0
    title, *rows = capsys.readouterr().out.splitlines()
    assert title.split() == ["ELECTION", "LEADER", "CANDIDATES", "TERM", "REVISION", "SINCE"]
    assert [row.split()[0] for row in rows] == names
    assert {(row.index(" a "), len(row)) for row in rows} == {(title.index("LEADER") - 1, len(rows[0]))}


def test_an_empty_namespace_is_said(target: str, capsys: pytest.CaptureFixture[str]) -> None:
    """To people; a script gets nothing."""
    assert main(["list", "--target", target, "--namespace", "list-empty"]) == 0
    assert capsys.readouterr().out == "namespace list-empty has no elections\n"
    assert main(["list", "--target", target, "--namespace", "list-empty", "--json"]) == 0
    assert capsys.readouterr().out == ""
