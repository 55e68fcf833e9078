"""Enqueues jobs inside an application's own transactions, with psycopg 3.

    pip install -r requirements.txt
    DATABASE_URL=postgres://app@localhost/app python enqueue.py
"""

import os

import psycopg
from psycopg.types.json import Jsonb


def enqueue(connection, kind, payload, **options):
    """The id of the job, which is there when the caller's transaction commits."""
    return connection.execute(
        "SELECT windlass.enqueue(%s, %s, %s)", (kind, Jsonb(payload), Jsonb(options))
    ).fetchone()[0]


def enqueue_many(connection, jobs):
    rows = connection.execute("SELECT windlass.enqueue_many(%s)", (Jsonb(jobs),))
    return [row[0] for row in rows]


with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
    connection.execute("CREATE TABLE IF NOT EXISTS orders (id int PRIMARY KEY)")
    connection.commit()

    # The order and its job, or neither.
    with connection.transaction():
        connection.execute("INSERT INTO orders VALUES (17) ON CONFLICT DO NOTHING")
        job = enqueue(connection, "order.confirm", {"order": 17}, queue="mail", unique_key="confirm:17")
    print("enqueued", job)

    # Once more: the same key, the same job.
    with connection.transaction():
        assert enqueue(connection, "order.confirm", {"order": 17}, queue="mail", unique_key="confirm:17") == job

    # What is rolled back never was.
    try:
        with connection.transaction():
            enqueue(connection, "order.confirm", {"order": 18})
            raise RuntimeError("no stock")
    except RuntimeError:
        pass

    # Many at once; one that is wrong is named, and nothing is written.
    with connection.transaction():
        ids = enqueue_many(connection, [{"kind": "report.build", "payload": {"n": n}} for n in range(3)])
    print("enqueued", len(ids))
    try:
        with connection.transaction():
            enqueue(connection, "report.build", {}, priority=99)
    except psycopg.Error as error:
        assert error.sqlstate == "WLE05", error
        print("refused", error.diag.message_primary)
