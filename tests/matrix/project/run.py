"""Run the trial; print the versions with which it has passed."""

from __future__ import annotations

import json
import os

import django

if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "smoke.settings"
    django.setup()

    from smoke import trial

    print(json.dumps(trial.run()))
