"""Lighter writes: no foreign key, one check, an index that finds what to prune."""

from django.db import migrations, models

#: Each delivery leaves two dead rows behind, so PostgreSQL had better clean up after
#: thousands of them than after a fifth of a large table.
VACUUM_EARLY = (
    "ALTER TABLE signal_tasks_delivery SET (autovacuum_vacuum_scale_factor = 0.01, "
    "autovacuum_vacuum_threshold = 5000, autovacuum_analyze_scale_factor = 0.02, "
    "autovacuum_vacuum_insert_scale_factor = 0.05)"
)
LIVE = models.Q(state="pending") | models.Q(state="running")


def vacuum_early(apps, schema_editor):
    """Set the storage parameters, on PostgreSQL."""
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(VACUUM_EARLY)


class Migration(migrations.Migration):
    dependencies = [("signal_tasks", "0001_initial")]

    operations = [
        migrations.AlterField(
            model_name="delivery",
            name="event",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=models.CASCADE,
                related_name="deliveries",
                to="signal_tasks.event",
            ),
        ),
        migrations.RemoveIndex(model_name="delivery", name="signal_tasks_finished_at"),
        migrations.AddIndex(
            model_name="delivery",
            index=models.Index(
                fields=["finished_at", "state"], name="signal_tasks_finished_at"
            ),
        ),
        migrations.RemoveConstraint("delivery", "signal_tasks_known_state"),
        migrations.RemoveConstraint("delivery", "signal_tasks_live_is_watched"),
        migrations.AddConstraint(
            model_name="delivery",
            constraint=models.CheckConstraint(
                condition=models.Q(LIVE, relay_at__isnull=False, finished_at__isnull=True)
                | models.Q(~LIVE, relay_at__isnull=True, finished_at__isnull=False),
                name="signal_tasks_watched_or_over",
            ),
        ),
        *(
            migrations.AlterField("delivery", name, kind(default=0))
            for name, kind in (
                ("attempts", models.IntegerField),
                ("lease", models.IntegerField),
                ("relays", models.SmallIntegerField),
            )
        ),
        migrations.RunPython(vacuum_early, migrations.RunPython.noop),
    ]
