"""SQL that fills the tables, in the order of its statements.

Everything follows from the number of a row and two hashes of it, so that a statement need
not look up what another one has written, and each run makes the same rows. Ids are those
of version 7 at the time of the event, and rows are written in that order, as senders do.

``{events}`` is the number of all events; ``{first}`` and ``{last}`` bound one batch.
"""

from __future__ import annotations

#: Share of the events, the latest, of which most deliveries still wait.
BACKLOG = 0.015

#: A UUID of version 7 from milliseconds and the number of the row.
_ID = (
    "(lpad(to_hex(ms), 12, '0') || '7' || lpad(to_hex({n} % 4096), 3, '0')"
    " || '8' || substr(md5('{salt}' || {n}), 1, 15))::uuid"
)


def _id(n: str, salt: str) -> str:
    return _ID.format(n=n, salt=salt)


FUNCTIONS = """
CREATE OR REPLACE FUNCTION pg_temp.part(n bigint, salt bigint) RETURNS float8 AS $$
    SELECT (hashint8extended(n, salt) & 1048575) / 1048576.0::float8
$$ LANGUAGE sql IMMUTABLE;
CREATE OR REPLACE FUNCTION pg_temp.signal_of(n bigint, events bigint) RETURNS int AS $$
    SELECT CASE WHEN n % (events / 20) = 1 THEN 49
        ELSE floor(49 * pg_temp.part(n, 1) ^ 3)::int END
$$ LANGUAGE sql IMMUTABLE;
"""

#: The same moment for all statements: ``{{now}}`` in milliseconds, 30 days of events.
_EVENT = f"""
SELECT n, s, ms, to_timestamp(ms / 1000.0) AS sent_at, {_id("n", "event")} AS event_id
FROM (
    SELECT n, pg_temp.signal_of(n, {{events}}) AS s,
        {{now}} - (30 * 86400000.0::float8 * (1 - n / {{events}}::float8))::bigint AS ms
    FROM generate_series({{first}}::bigint, {{last}}) AS n OFFSET 0
) AS numbered OFFSET 0
"""
EVENTS = f"""
INSERT INTO signal_tasks_event (id, signal, payload, headers, subject, sent_at)
SELECT event_id, 'shop.signals.signal_' || lpad(s::text, 2, '0'),
    '{{{{"order":' || n || ',"customer":"customer ' || md5(n::text) || '","lines":['
        || repeat('{{{{"product":"a thing","amount":1}}}},', 5) || 'null]}}}}',
    '', 'shop.order:' || n / 3, sent_at
FROM ({_EVENT}) AS event
"""

DELIVERIES = f"""
INSERT INTO signal_tasks_delivery (id, event_id, receiver, state, reason, run, attempts,
    lease, claimed_by, available_at, next_check_at, publish_count, isolated, orphaned,
    parked, finished_at)
SELECT {_id("(n * 4 + j)", "delivery")}, event_id,
    CASE WHEN orphaned THEN 'shop.gone.react_' || s
        ELSE 'shop.receivers.react_' || lpad((s * 4 + j)::text, 3, '0') END,
    state, CASE state WHEN 'dead' THEN 'exhausted' ELSE '' END, 1,
    CASE WHEN state = 'dead' THEN 3 WHEN v < 0.03 THEN 2
        WHEN state = 'pending' AND v < 0.9 THEN 0 ELSE 1 END,
    n, CASE state WHEN 'running' THEN md5('worker ' || n % 20)::uuid END,
    CASE WHEN state = 'pending' AND v > 0.9 THEN now() + interval '1 hour' * v
        ELSE sent_at END,
    CASE WHEN state = 'running' THEN now() + interval '1 minute'
        WHEN state <> 'pending' THEN NULL
        WHEN v > 0.9 THEN now() + interval '1 hour' * v
        ELSE now() + interval '10 minutes' * v END,
    0, false, orphaned,
    CASE WHEN state = 'pending' AND s = 39 AND j = 2 THEN 'no such queue' ELSE '' END,
    CASE WHEN state IN ('pending', 'running') THEN NULL
        WHEN state = 'dead' THEN least(now(), sent_at + interval '2 hours' * v)
        ELSE least(now(), sent_at + interval '20 seconds' * v) END
FROM (
    SELECT *, state = 'pending' AND s IN (30, 31, 32) AND j = 0 AS orphaned FROM (
        SELECT *, CASE
            WHEN n > {{events}} * (1 - {BACKLOG}) AND u < 0.667
                THEN CASE WHEN u < 0.003 THEN 'running' ELSE 'pending' END
            WHEN j < 3 AND u > 0.9733 THEN 'dead'
            WHEN u > 0.969 AND u <= 0.9733 THEN 'discarded'
            ELSE 'succeeded' END AS state
        FROM (
            SELECT *, pg_temp.part(n * 4 + j, 2) AS u, pg_temp.part(n * 4 + j, 3) AS v
            FROM ({_EVENT}) AS event, generate_series(0, 3) AS j OFFSET 0
        ) AS drawn
    ) AS stated
) AS made
"""

TRACEBACK = "\n".join(
    f'  File "/srv/shop/part_{n}.py", line {n}, in react\\n    call_{n}(order, customer)'
    for n in range(12)
)
ATTEMPTS = f"""
INSERT INTO signal_tasks_attempt (delivery_id, run, number, consequence, times,
    error_type, error, traceback, worker, seconds, failed_at, fingerprint)
SELECT delivery.id, 1, number,
    CASE WHEN state = 'dead' AND number = 3 THEN 'dead' ELSE 'retried' END, 1,
    'smtplib.SMTPServerDisconnected', 'Connection unexpectedly closed: ' || delivery.id,
    E'{TRACEBACK.replace("'", "''")}', 'celery@host-' || lease % 20, 0.2,
    finished_at - interval '1 minute' * (3 - number),
    substr(md5(receiver || ':' || (lease % 5 = 0)::text), 1, 16)
FROM signal_tasks_delivery AS delivery, generate_series(1, 3) AS number
WHERE state = 'dead' OR (state = 'succeeded' AND attempts = 2 AND number = 1)
ORDER BY delivery.id, number;
INSERT INTO signal_tasks_failuregroup (fingerprint, receiver, error_type, location,
    sample, failures, first_seen_at, last_seen_at, note)
SELECT fingerprint, min(receiver), min(error_type), 'shop.receivers.react', min(error),
    count(*), min(failed_at), max(failed_at), ''
FROM signal_tasks_attempt JOIN signal_tasks_delivery AS delivery
    ON delivery.id = delivery_id GROUP BY fingerprint;
"""

ORDER = """
CREATE TEMP TABLE placed AS
SELECT id, receiver, 'shop.order:' || (lease % 5000) AS key
FROM signal_tasks_delivery
WHERE receiver IN ({ordered})
    AND (state = 'pending' OR state = 'dead' AND finished_at > now() - interval '3 days');
INSERT INTO signal_tasks_sequence (receiver, key, last)
SELECT receiver, key, count(*) FROM placed GROUP BY receiver, key;
INSERT INTO signal_tasks_turn (delivery_id, sequence_id, position)
SELECT placed.id, sequence.id,
    row_number() OVER (PARTITION BY sequence.id ORDER BY placed.id)
FROM placed JOIN signal_tasks_sequence AS sequence USING (receiver, key);
"""

STEERING = """
INSERT INTO signal_tasks_control (kind, target, rate, reason, by, created_at)
SELECT 'pause', 'receiver:shop.receivers.react_' || lpad(n::text, 3, '0'), '',
    'the mail server is down', 'ada', now() FROM unnest(ARRAY[8, 20, 41]) AS n;
INSERT INTO signal_tasks_gate (receiver, holding, breaker, failures, changed_at)
SELECT 'shop.receivers.react_' || lpad(n::text, 3, '0'), true,
    CASE n WHEN 12 THEN 'open' ELSE 'closed' END, 5, now()
FROM unnest(ARRAY[8, 12, 20, 41]) AS n;
INSERT INTO signal_tasks_helddelivery (delivery_id, receiver, why)
SELECT id, receiver, CASE WHEN receiver LIKE '%012' THEN 'breaker' ELSE 'paused' END
FROM signal_tasks_delivery WHERE next_check_at IS NOT NULL AND state = 'pending'
    AND receiver IN (SELECT receiver FROM signal_tasks_gate);
INSERT INTO signal_tasks_worker (id, name, started_at, seen_at, runs_relay, queues,
    rescued, broker_error)
SELECT md5('worker ' || n)::uuid, 'celery@host-' || n, now() - interval '1 day',
    now() + interval '1 year', true, 'celery', 0, ''
FROM generate_series(0, 19) AS n;
"""

OPERATIONS = f"""
INSERT INTO signal_tasks_operation (id, kind, stored_selection, state, total, done, failed,
    skipped, canary, step, rate, reason, by, note, cursor, cutoff_at, next_step_at,
    created_at, finished_at)
SELECT {_id("n", "operation")}, 'replay',
    '{{{{"receiver": "shop.receivers.react_000", "state": "dead"}}}}', 'done', 300, 300, 0, 0,
    true, 5, '', 'the server is back', 'ada', '', '', at, at, at, at
FROM (
    SELECT n, to_timestamp(ms / 1000.0) AS at, ms FROM (
        SELECT n, {{now}} - (500 - n) * 5184000 AS ms
        FROM generate_series(1::bigint, 500) AS n
    ) AS numbered
) AS moments;
INSERT INTO signal_tasks_operationitem (delivery_id, operation_id, state, step)
SELECT delivery_id, operation.id, 'changed', 5
FROM (
    SELECT delivery_id, row_number() OVER (ORDER BY delivery_id) % 500 + 1 AS n
    FROM signal_tasks_attempt WHERE consequence = 'dead'
) AS dead
JOIN (
    SELECT id, row_number() OVER (ORDER BY id) AS n FROM signal_tasks_operation
) AS operation USING (n) WHERE n <= 250;
INSERT INTO signal_tasks_auditentry (at, verb, target, by, reason, command)
SELECT now() - interval '30 days' * (1 - n / 20000.0),
    (ARRAY['pause', 'resume', 'replay', 'note'])[n % 4 + 1],
    'receiver:shop.receivers.react_000', 'person ' || n % 30, 'because',
    'manage.py signal_tasks pause receiver:shop.receivers.react_000'
FROM generate_series(1, 20000) AS n;
"""

HISTORY = """
WITH clock AS (SELECT extract(epoch FROM now())::bigint AS now),
receivers AS (
    SELECT '' AS receiver UNION ALL
    SELECT 'shop.receivers.react_' || lpad(n::text, 3, '0')
    FROM generate_series(0, 199) AS n
),
moments AS (
    SELECT 60 AS step, now / 60 * 60 - n * 60 AS start
    FROM generate_series(0, 2879) AS n, clock
    UNION ALL SELECT 3600, now / 3600 * 3600 - n * 3600
    FROM generate_series(0, 719) AS n, clock
    UNION ALL SELECT 0, 0
)
INSERT INTO signal_tasks_history (receiver, step, start, succeeded, retried, dead,
    attempts, attempts_0, wait_4, wait_6, wait_9, run_2, run_4, run_7, wait_seconds,
    run_seconds)
SELECT receiver, step, start, 100, 3, 1, 104, 100, 60, 30, 14, 70, 30, 4, 5.0, 3.0
FROM receivers, moments
"""
