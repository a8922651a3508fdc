"""``python manage.py write_reports --target grpc://localhost:5678``, on as many machines as are to stand by."""

import os
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import close_old_connections
from reports.models import write_report

from atomix_election.sync import ElectionError, LeaderElection, Leadership

ELECTION = "reports"


class Command(BaseCommand):
    help = "Writes reports while this process leads, and waits for its turn while another one does."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--target", default="grpc://localhost:5678", help="where the election is")
        parser.add_argument("--every", type=float, default=60.0, metavar="SECONDS", help="how often a report is due")
        parser.add_argument("--once", action="store_true", help="write one report when it is this one's turn, and end")

    def handle(self, *_: Any, target: str, every: float, once: bool, **__: Any) -> None:
        """Work until SIGTERM or Ctrl-C, which leave the queue; an error leaves it too, and says why on its way out."""

        def write(leadership: Leadership) -> None:
            leadership.ensure()
            close_old_connections()  # which nobody does for a command, as requests do for themselves
            write_report(leadership.token, os.getpid())

        def work(leadership: Leadership) -> None:
            while True:
                write(leadership)  # raises when the lead is lost, and is called again at the next turn
                leadership.lost.wait(every)

        try:
            with LeaderElection(ELECTION, target=target, handle_signals=True) as election:
                if once:
                    with election.lead() as leadership:
                        write(leadership)
                else:
                    election.run(work)
        except ElectionError as error:
            raise CommandError(f"no more reports are written: {error}") from error
