"""What is written, and what refuses a leader of yesterday."""

from django.db import connection, models, transaction

from atomix_election.fencing import SqlFencingGuard

guard = SqlFencingGuard(parameter_style="format")  # a cursor of Django's takes %s, whatever the database


class Report(models.Model):
    """A report, and who wrote it."""

    token: "models.BigIntegerField[int, int]" = models.BigIntegerField()
    pid: "models.IntegerField[int, int]" = models.IntegerField()


def write_report(token: int, pid: int) -> None:
    """Write a report under a token. On StaleToken nothing was written."""
    with transaction.atomic():
        guard.check(connection, "reports", token)
        Report(token=token, pid=pid).save()
