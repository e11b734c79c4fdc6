"""``python -m chaos.worker -A APP worker OPTIONS``: Celery's ``worker`` alone.

``celery`` imports all its commands and those of plugins first, as Flower, which takes
as long as all that a worker needs. The suites start workers by the hundred.
"""

from __future__ import annotations

import sys

from celery import maybe_patch_concurrency


def main() -> None:
    """Run the command as ``celery`` does, after -P has patched the process."""
    maybe_patch_concurrency()
    from celery.app.utils import find_app
    from celery.bin.base import CLIContext
    from celery.bin.worker import worker

    _, app, _, *options = sys.argv[1:]
    context = CLIContext(app=find_app(app), no_color=True, workdir=None)
    worker.main(args=options, prog_name="celery worker", obj=context)


if __name__ == "__main__":
    main()
