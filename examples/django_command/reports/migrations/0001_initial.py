"""A table of reports, and one with the newest token that it has seen."""

from django.apps.registry import Apps
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

from atomix_election.fencing import SqlFencingGuard


def create_guard(_: Apps, editor: BaseDatabaseSchemaEditor) -> None:
    SqlFencingGuard().create_table(editor.connection)


class Migration(migrations.Migration):
    initial = True
    operations = [
        migrations.CreateModel(
            "Report",
            [
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("token", models.BigIntegerField()),
                ("pid", models.IntegerField()),
            ],
        ),
        migrations.RunPython(create_guard),
    ]
