# The shop as an image: web, workers and Flower are the same image, told apart by
# their command (see docker-compose.yml).
FROM python:3.11.14-slim-bookworm AS wheels
COPY requirements.txt .
# Only the very files that were pinned, and no code of a package's build.
RUN pip wheel --no-cache-dir --wheel-dir /wheels --require-hashes --only-binary=:all: \
    -r requirements.txt

FROM python:3.11.14-slim-bookworm
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
ENV SHOP_VAR=/var/lib/shop
RUN useradd --system --create-home --uid 10001 shop \
    && install --directory --owner=shop /var/lib/shop
WORKDIR /app
RUN --mount=type=bind,from=wheels,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-index /wheels/*.whl
COPY --chown=root:root . .
# The key is for this one command. The image has none, and does not start without one.
RUN SECRET_KEY=build ALLOWED_HOSTS=localhost python manage.py collectstatic --noinput
USER shop
EXPOSE 8000
# Exec form: SIGTERM has to reach the main process, not a shell.
CMD ["gunicorn", "shop.wsgi", "--bind=0.0.0.0:8000", "--workers=2", "--threads=4", \
     "--no-control-socket", "--worker-tmp-dir=/dev/shm"]
