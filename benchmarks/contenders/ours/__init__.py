"""``signal_tasks``, with the settings that a project has when it sets none."""
