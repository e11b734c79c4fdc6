"""Tell a monitor, once a minute, whether events are delivered."""

import signal_tasks
from django.http import JsonResponse


def health(request):
    seen = signal_tasks.health()
    told = {"problems": seen["problems"], "pending": seen["pending"]}
    return JsonResponse(told, status=200 if seen["healthy"] else 503)
