"""Whether events are being delivered, for a monitor to ask once a minute."""

import signal_tasks
from django.http import JsonResponse


def health(request):
    seen = signal_tasks.health()
    told = {"problems": seen["problems"], "pending": seen["pending"]}
    return JsonResponse(told, status=200 if seen["healthy"] else 503)
