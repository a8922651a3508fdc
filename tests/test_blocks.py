"""Every block of code in the documentation is run, or compared with what is run, by a test that is named here.

``python -m tests.spoil`` proves it: it spoils one block after the other, and sees that its test fails.
"""

import ast
from functools import cache
from pathlib import Path

import pytest

from tests.manual import DOCS, blocks

PROJECT = DOCS.parent
TESTS = PROJECT / "tests"

Claim = tuple[str, str, str]
"""The heading of a block, its language, which is "" for a block that is indented, and its test."""
CLAIMS: dict[str, list[Claim]] = {
    "README.md": [
        ("Two commands", "", "test_readme.py::test_the_targets_of_make_are_run_before_a_change_goes_in"),
        ("An example", "python", "test_readme.py::test_the_example_runs_as_it_is"),
        ("An example", "", "test_readme.py::test_the_commands_work"),
        ("How it is built", "text", "test_layers.py::test_the_drawing_in_the_readme_has_the_layers"),
    ],
    "CONTRIBUTING.md": [
        ("Set-up", "", "test_readme.py::test_the_targets_of_make_are_run_before_a_change_goes_in"),
    ],
    "docs/blocking.md": [
        ("Leading", "python", "test_blocking_guide.py::test_a_program_does_what_is_said"),
        ("Working whenever it leads", "python", "test_blocking_guide.py::test_a_program_does_what_is_said"),
        ("Skipping when another one leads", "python", "test_blocking_guide.py::test_a_program_does_what_is_said"),
        ("One connection for many threads", "python", "test_blocking_guide.py::test_a_program_does_what_is_said"),
        ("Watching", "python", "test_blocking_guide.py::test_a_program_does_what_is_said"),
    ],
    "docs/cli.md": [
        ("The command", "", "test_cli_guide.py::test_the_extras_are_there"),
        ("Looking", "", "test_cli_guide.py::test_looking"),
        ("Looking", "", "test_cli_guide.py::test_looking"),
        ("Looking", "", "test_cli_guide.py::test_looking"),
        ("Changing who leads", "", "test_cli_guide.py::test_changing_who_leads"),
        ("Changing who leads", "text", "test_cli_guide.py::test_the_question_is_as_it_is_shown"),
        ("Measuring a server", "", "test_cli_guide.py::test_measuring"),
        ("Measuring a server", "text", "test_cli_guide.py::test_measuring"),
        ("Completion", "", "test_cli_guide.py::test_bash_completes"),
    ],
    "docs/cluster.md": [
        ("A cluster", "", "test_demo.py::test_the_demonstration_of_a_cluster_goes_on_whatever_is_killed"),
        ("From nothing", "", "test_cluster_guide.py::test_from_nothing_and_back_after_a_restore"),
        ("From nothing", "", "test_cluster_guide.py::test_from_nothing_and_back_after_a_restore"),
        ("TLS and users", "", "test_cluster_guide.py::test_tls_and_users"),
        ("Backup and restore", "", "test_cluster_guide.py::test_from_nothing_and_back_after_a_restore"),
        ("Restoring", "", "test_cluster_guide.py::test_from_nothing_and_back_after_a_restore"),
        ("Restoring", "", "test_cluster_guide.py::test_from_nothing_and_back_after_a_restore"),
        ("Raising the tokens by hand", "", "test_cluster_guide.py::test_from_nothing_and_back_after_a_restore"),
        ("Moving from SQLite", "", "test_cluster_guide.py::test_moving_from_sqlite"),
        ("Monitoring", "", "test_cluster_guide.py::test_from_nothing_and_back_after_a_restore"),
        ("Sizing", "", "test_benchmarks.py::test_the_targets_of_make_measure"),
    ],
    "docs/coming-from.md": [
        ("Moving without two leaders", "python", "test_coming_from_guide.py::test_nested_holds_both"),
        ("From etcd", "python", "test_coming_from_guide.py::test_both_on_etcd"),
        ("From etcd", "python", "test_coming_from_guide.py::test_both_on_etcd"),
        ("From etcd", "", "test_coming_from_guide.py::test_commands_on_etcd"),
        ("From Consul", "python", "test_coming_from_guide.py::test_the_one_on_consul"),
        ("From Consul", "python", "test_coming_from_guide.py::test_ours_on_a_server"),
        ("From ZooKeeper with kazoo", "python", "test_coming_from_guide.py::test_those_on_zookeeper"),
        ("From ZooKeeper with kazoo", "python", "test_coming_from_guide.py::test_ours_on_a_server"),
        ("From Kubernetes leases", "python", "test_coming_from_guide.py::test_ours_on_a_server"),
        ("From tooz", "python", "test_coming_from_guide.py::test_those_on_zookeeper"),
        ("From tooz", "python", "test_coming_from_guide.py::test_ours_on_a_server"),
        ("From Redis locks", "python", "test_coming_from_guide.py::test_the_one_on_redis"),
        ("From Redis locks", "python", "test_coming_from_guide.py::test_ours_on_a_server"),
    ],
    "docs/examples.md": [
        ("A scheduler", "", "test_ready_made_uses.py::test_a_scheduler_goes_on_where_the_former_one_stopped"),
        ("A web application", "", "test_ready_made_uses.py::test_the_workers_of_a_web_application_take_turns"),
        ("The leader's address", "", "test_ready_made_uses.py::test_requests_reach_the_leader_wherever_they_come_in"),
        ("A command of Django", "", "test_ready_made_uses.py::test_a_command_of_django_runs_where_it_leads"),
    ],
    "docs/histories.md": [
        ("In one process", "python", "test_histories_guide.py::test_what_it_shows_works"),
        ("In several processes", "python", "test_histories_guide.py::test_what_it_shows_works"),
        ("In several processes", "python", "test_histories_guide.py::test_what_it_shows_works"),
        ("The rules", "text", "test_histories_guide.py::test_the_violation_that_it_shows_is_one"),
    ],
    "docs/lease-protocol.md": [
        (
            "What was explored",
            "text",
            "model/test_lease_protocol.py::test_the_way_to_two_leaders_without_a_margin_can_be_followed",
        ),
    ],
    "docs/operating.md": [
        ("From nothing", "", "test_operating.py::test_from_nothing_to_a_durable_secured_and_watched_server"),
        ("From nothing", "", "test_operating.py::test_from_nothing_to_a_durable_secured_and_watched_server"),
        ("A certificate for the server", "", "test_operating_security.py::test_the_commands_and_the_example"),
        ("Who may do what", "", "test_operating_security.py::test_the_commands_and_the_example"),
        ("Serving", "", "test_operating_security.py::test_the_commands_and_the_example"),
        ("Client certificates", "", "test_operating_security.py::test_client_certificates"),
        ("Client certificates", "", "test_operating_security.py::test_client_certificates"),
        ("Clients", "", "test_operating_security.py::test_the_commands_and_the_example"),
        ("Clients", "python", "test_operating_security.py::test_the_commands_and_the_example"),
        ("Replacing certificates and tokens", "", "test_operating_security.py::test_the_commands_and_the_example"),
        ("With systemd", "", "test_operating_security.py::test_with_systemd"),
        ("With systemd", "", "test_operating_security.py::test_with_systemd"),
        ("Backups", "", "test_operating_backup.py::test_the_commands_in_order"),
        ("Restoring", "", "test_operating_backup.py::test_the_commands_in_order"),
        ("Restoring", "", "test_operating_backup.py::test_the_commands_in_order"),
        ("Restoring", "", "test_operating_backup.py::test_the_commands_in_order"),
        ("Elections that are no longer used", "", "test_operating_backup.py::test_the_command_that_forgets"),
        ("What hostile peers cost", "", "cli/test_limit_options.py::test_the_command_that_measures_is_there"),
        ("Looking at elections", "", "test_operating_monitoring.py::test_the_commands_do_what_is_said"),
        ("Health and reflection", "yaml", "test_operating_monitoring.py::test_the_probe_of_kubernetes_is_answered"),
        ("Metrics", "", "test_operating_monitoring.py::test_the_commands_do_what_is_said"),
        ("Logs", "json", "test_operating_monitoring.py::test_the_line_that_is_shown_has_the_members_of_a_real_one"),
        ("systemd", "", "test_systemd.py::test_systemd_finds_nothing_wrong_with_the_units"),
    ],
    "docs/performance.md": [
        ("Performance", "", "test_benchmarks.py::test_the_targets_of_make_measure"),
    ],
    "docs/run.md": [
        ("Running a command on one machine at a time", "", "test_run_guide.py::test_the_first_command"),
        ("Under systemd", "ini", "test_run_guide.py::test_a_service"),
        ("In Kubernetes", "yaml", "test_run_guide.py::test_a_service"),
    ],
    "docs/stores.md": [
        ("An example", "python", "test_stores_guide.py::test_the_example_keeps_the_contract"),
        ("Checking it", "python", "test_stores_guide.py::test_the_example_keeps_the_contract"),
        ("Checking it", "", "test_stores_guide.py::test_the_example_keeps_the_contract"),
        ("Checking it", "text", "test_stores_guide.py::test_what_is_said_of_a_broken_store_is_what_the_guide_shows"),
        ("Checking it", "python", "test_stores_guide.py::test_the_example_keeps_the_contract"),
        ("Checking it", "", "test_stores_guide.py::test_the_example_keeps_the_contract"),
        ("An election on it", "python", "test_stores_guide.py::test_an_election_runs_on_the_example"),
        ("An election on it", "", "test_stores_guide.py::test_an_election_runs_on_the_example"),
        ("A store that several engines use", "python", "test_stores_guide.py::test_a_shared_store_is_checked"),
        ("A store that several engines use", "", "test_stores_guide.py::test_a_shared_store_is_checked"),
    ],
    "docs/testing.md": [
        ("An application", "python", "test_testing_guide.py::test_the_tests_pass"),
        ("In the process", "python", "test_testing_guide.py::test_the_tests_pass"),
        ("On a network, in virtual time", "python", "test_testing_guide.py::test_the_tests_pass"),
        ("Clocks", "python", "test_testing_guide.py::test_the_tests_pass"),
        ("Many seeds", "python", "test_testing_guide.py::test_the_tests_pass"),
        ("Against a real server", "python", "test_testing_guide.py::test_the_tests_pass"),
        ("Fixtures for pytest", "python", "test_testing_guide.py::test_the_tests_pass"),
    ],
    "docs/tutorial.md": [
        ("Install", "sh", "test_tutorial.py::test_the_package_was_installed"),
        ("Install", "sh", "test_tutorial.py::test_the_package_was_installed"),
        ("A first election", "python", "test_tutorial.py::test_a_program_prints_what_is_said"),
        ("A first election", "sh", "test_tutorial.py::test_a_program_prints_what_is_said"),
        ("A first election", "text", "test_tutorial.py::test_a_program_prints_what_is_said"),
        ("Between processes", "sh", "test_tutorial.py::test_between_processes"),
        ("Between processes", "python", "test_tutorial.py::test_between_processes"),
        ("Between processes", "sh", "test_tutorial.py::test_between_processes"),
        ("Between processes", "sh", "test_tutorial.py::test_between_processes"),
        ("Between processes", "sh", "test_tutorial.py::test_between_processes"),
        ("Between processes", "sh", "test_tutorial.py::test_between_processes"),
        ("Between processes", "text", "test_tutorial.py::test_between_processes"),
        ("Between processes", "sh", "test_tutorial.py::test_between_processes"),
        ("What the token is for", "python", "test_tutorial.py::test_a_program_prints_what_is_said"),
        ("What the token is for", "sh", "test_tutorial.py::test_a_program_prints_what_is_said"),
        ("What the token is for", "text", "test_tutorial.py::test_a_program_prints_what_is_said"),
        ("A test of your own", "python", "test_tutorial.py::test_the_test"),
        ("A test of your own", "sh", "test_tutorial.py::test_the_test"),
    ],
}
"""For each page that has any."""
ONLY_NAMED = {
    "make bench": "20 minutes",
    "make bench-check": "four minutes",
    "make bench-cluster": "six minutes",
    ".venv/bin/python -m pytest -q -s tests/rpc/test_hostile_peers.py": "run up to where its tests begin",
    "python3 -m venv /opt/atomix-election": "another root",
    "/opt/atomix-election/bin/pip install 'atomix-election[cli,server]'": "another root",
    "groupadd --system election-files": "another root",
    "systemctl daemon-reload": "needs systemd",
    "systemctl enable --now atomix-election": "needs systemd",
    "systemctl reload atomix-election": "needs systemd",
}
"""Lines of which tests only know that they stand there and what they mean, and why they are not run."""


@cache
def _functions(module: Path) -> set[str]:
    return {node.name for node in ast.walk(ast.parse(module.read_text())) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("page", sorted([*PROJECT.glob("*.md"), *DOCS.rglob("*.md")]), ids=lambda page: page.name)
def test_each_block_has_a_test(page: Path) -> None:
    """In order, so that a new block is nobody's."""
    claims = CLAIMS.get(str(page.relative_to(PROJECT)), [])
    assert [(block.heading, block.language) for block in blocks(page.read_text())] == [claim[:2] for claim in claims]
    for _, _, test in claims:
        module, _, function = test.partition("::")
        assert function in _functions(TESTS / module), test


def test_what_is_only_named_is_shown() -> None:
    """A line that is gone needs no excuse."""
    shown = {
        line.partition(" #")[0].strip()
        for page in CLAIMS
        for block in blocks((PROJECT / page).read_text())
        for line in block.text.splitlines()
    }
    assert ONLY_NAMED.keys() <= shown


def test_no_block_is_overlooked() -> None:
    """Neither in a list nor indented, nor what another fence or language has."""
    text = "# A\n\n    one\n\n- b\n\n  ```sh\n  two\n  ```\n\n## C `d`\n\n~~~\nthree\n~~~\n"
    assert blocks(text) == [("A", "", "one\n"), ("A", "sh", "two\n"), ("C `d`", "", "three\n")]
