"""Settings of the shop: every choice of a deployment comes from the environment.

``.env.example`` lists the variables. ``make run`` writes its own to ``var/run.env``, so
that ``manage.py`` in another terminal uses the same services.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import environ
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured

from shop.connections import database_entry, transport_options
from shop.logs import logging_config

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.Env()
VAR_DIR = Path(env.str("SHOP_VAR", default=str(BASE_DIR / "var"))).resolve()
if (BASE_DIR / ".env").exists():
    env.read_env(BASE_DIR / ".env")
if not {"SECRET_KEY", "DEBUG"} & set(env.ENVIRON) and (VAR_DIR / "run.env").exists():
    # Not a deployment and not a program of the stack: manage.py beside ``make run``.
    env.read_env(VAR_DIR / "run.env")

# Core

# Development has to be asked for: without DEBUG=1 and without a key, nothing starts.
DEBUG = env.bool("DEBUG", default=False)
SECRET_KEY = env.str("SECRET_KEY", default="")
if not SECRET_KEY:
    if not DEBUG:
        raise ImproperlyConfigured(
            "SECRET_KEY is not set. A deployment needs one: see .env.example. "
            "On your own machine, for development only, set DEBUG=1 instead."
        )
    SECRET_KEY = "for-development-only-never-in-production"  # noqa: S105
LOCAL_HOSTS = ["localhost", "127.0.0.1", "[::1]"]
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=LOCAL_HOSTS if DEBUG else [])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
# The address of the shop, for links in emails: workers have no request to read it from.
_HOST = next(iter(ALLOWED_HOSTS), "localhost")
SITE_URL = env.str(
    "SITE_URL", default="http://localhost:8000" if DEBUG else f"https://{_HOST}"
)
ROOT_URLCONF = "shop.urls"
WSGI_APPLICATION = "shop.wsgi.application"
ASGI_APPLICATION = "shop.asgi.application"
LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "csp",
    "django_htmx",
    "signal_tasks",
    "signal_tasks.dashboard",
    "customers",
    "products",
    "orders",
    "notifications",
    "shop",
]

MIDDLEWARE = [
    "shop.middleware.alive",
    "shop.middleware.own_error_pages",
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "shop.middleware.refuse_nul",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "shop.middleware.name_methods",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "shop.context.frame",
            ],
        },
    },
]

_VALIDATION = "django.contrib.auth.password_validation"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"{_VALIDATION}.UserAttributeSimilarityValidator"},
    {"NAME": f"{_VALIDATION}.MinimumLengthValidator"},
    {"NAME": f"{_VALIDATION}.CommonPasswordValidator"},
    {"NAME": f"{_VALIDATION}.NumericPasswordValidator"},
]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "profile"
LOGOUT_REDIRECT_URL = "catalogue"

# Database

DATABASES = {
    "default": database_entry(
        env.str("DATABASE_URL", default=f"sqlite:///{VAR_DIR / 'shop.sqlite3'}"),
        max_age=env.int("CONN_MAX_AGE", default=600),
    )
}

# Email

globals().update(env.email_url("EMAIL_URL", default=f"filemail:///{VAR_DIR / 'mail'}"))
EMAIL_TIMEOUT = 10

# An email that fails is tried again after pauses that double, up to so many seconds.
EMAIL_MAX_DELAY = env.float("EMAIL_MAX_DELAY", default=3600.0)

# Emails that one address gets, and one visitor or network asks for, without having
# proved the address: see customers/limits.py. Behind proxies, say how many.
EMAILS_PER_HOUR = {
    "address": env.int("EMAILS_PER_ADDRESS", default=3),
    "visitor": env.int("EMAILS_PER_VISITOR", default=6),
    "network": env.int("EMAILS_PER_NETWORK", default=60),
}
TRUSTED_PROXIES = env.int("TRUSTED_PROXIES", default=0)

# /incident/, whose buttons break things, and an inbox that is open to everybody: in
# development only.
SHOP_DEMO = DEBUG and env.bool("SHOP_DEMO", default=True)
if SHOP_DEMO:
    SHOP_MAIL_BACKEND = globals()["EMAIL_BACKEND"]
    EMAIL_BACKEND = "shop.incident.faults.BreakableBackend"

DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default="shop@example.com")
SERVER_EMAIL = DEFAULT_FROM_EMAIL

# Static files

STATIC_URL = "static/"
STATIC_ROOT = Path(env.str("STATIC_ROOT", default=str(BASE_DIR / "staticfiles")))
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "whitenoise.storage.CompressedManifestStaticFilesStorage",
    },
}
# In development the files are served from the apps, without collectstatic.
WHITENOISE_USE_FINDERS = DEBUG
WHITENOISE_AUTOREFRESH = DEBUG
# A missing picture must not take the page down, least of all the page of errors.
WHITENOISE_MANIFEST_STRICT = False

# Uploaded pictures. Django serves them in development only; in a deployment the web
# server does, or another storage.

MEDIA_URL = "media/"
MEDIA_ROOT = VAR_DIR / "media"
FILE_UPLOAD_HANDLERS = [
    "customers.uploads.LimitedUpload",
    "django.core.files.uploadhandler.MemoryFileUploadHandler",
    "django.core.files.uploadhandler.TemporaryFileUploadHandler",
]

# Celery

CELERY_BROKER_URL = env.str(
    "CELERY_BROKER_URL", default=env.str("REDIS_URL", default="redis://127.0.0.1:6379")
)
CELERY_BROKER_TRANSPORT_OPTIONS = transport_options(CELERY_BROKER_URL)
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None  # an outage of an hour must not end workers
CELERY_BROKER_POOL_ACQUIRE_TIMEOUT = 0.5
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_SERIALIZER = "json"
CELERY_TASK_IGNORE_RESULT = True  # the row of a delivery is its result
CELERY_TASK_DEFAULT_QUEUE = "shop"
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_SEND_SENT_EVENT = False
CELERY_TIMEZONE = TIME_ZONE
# Reducing the prefetch count after a reconnection can leave a worker idle for good.
CELERY_WORKER_ENABLE_PREFETCH_COUNT_REDUCTION = False
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 10
CELERY_WORKER_HIJACK_ROOT_LOGGER = False

SIGNAL_TASKS: dict[str, Any] = {}
# Reviews of a product that come within this time of each other are told in one email.
REVIEW_DIGEST_SECONDS = env.float("REVIEW_DIGEST_SECONDS", default=2.0)
if "FLOWER_URL" in env:
    SIGNAL_TASKS["FLOWER_URL"] = env.str("FLOWER_URL")
if "SIGNAL_TASKS_LEASE" in env:
    SIGNAL_TASKS["LEASE"] = env.float("SIGNAL_TASKS_LEASE")

# Security: outside development everything that HTTPS makes possible is on.

HTTPS = env.bool("HTTPS", default=not DEBUG)
SECURE_SSL_REDIRECT = HTTPS
SESSION_COOKIE_SECURE = HTTPS
CSRF_COOKIE_SECURE = HTTPS
SECURE_HSTS_SECONDS = env.int("SECURE_HSTS_SECONDS", default=3600 if HTTPS else 0)
SECURE_HSTS_INCLUDE_SUBDOMAINS = env.bool(
    "SECURE_HSTS_INCLUDE_SUBDOMAINS", default=HTTPS
)
# Browsers ship the preload list: who is on it cannot leave it for months. So this is
# for the owner of the domain to decide, and the check that asks for it is silent.
SECURE_HSTS_PRELOAD = env.bool("SECURE_HSTS_PRELOAD", default=False)
SILENCED_SYSTEM_CHECKS = ["security.W021"]
SECURE_REDIRECT_EXEMPT = [r"^health/$"]  # probes come from inside, without TLS
if env.bool("BEHIND_TLS_PROXY", default=False):
    # Only where a proxy sets this header itself: a client could send it too.
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

# The token that opens the full report of /health/. Without one only users who may view
# deliveries see it.
HEALTH_TOKEN = env.str("HEALTH_TOKEN", default="")

# Requests that take longer are counted: see shop/slow_requests.py.
SLOW_REQUEST_SECONDS = env.float("SLOW_REQUEST_SECONDS", default=1.0)

# Pages may load the shop's own files only; no inline scripts and styles. Pico CSS draws
# its arrows and ticks as data: images.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "img-src": [SELF, "data:"],
        "object-src": [NONE],
        "base-uri": [NONE],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    },
}
SECURE_REFERRER_POLICY = "same-origin"

# Logging

LOG_FORMAT = env.str("LOG_FORMAT", default="line" if DEBUG else "json")
LOGGING = logging_config(style=LOG_FORMAT, level=env.str("LOG_LEVEL", default="INFO"))
