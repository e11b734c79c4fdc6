"""Fill PostgreSQL: ``python -m benchmarks.volume --rows 10000000 --database-url URL``."""

from __future__ import annotations

import argparse
import os

import django
from django.core.management import call_command

from benchmarks.volume.fill import fill


def main() -> None:
    """Make the tables and fill them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000, help="deliveries")
    parser.add_argument("--database-url", required=True, help="of an empty database")
    options = parser.parse_args()
    os.environ["VOLUME_DATABASE_URL"] = options.database_url
    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.volume.settings"
    django.setup()
    call_command("migrate", verbosity=0)
    fill(options.database_url, options.rows, print)


if __name__ == "__main__":
    main()
