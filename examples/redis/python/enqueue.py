"""Enqueues jobs with redis-py: by the function, which answers, and by the inbox, which any Redis takes.

    pip install -r requirements.txt
    REDIS_URL=redis://producer:password@localhost:6379/0 python enqueue.py
"""

import json
import os

import redis

PREFIX = os.environ.get("WINDLASS_PREFIX", "windlass")
server = redis.Redis.from_url(os.environ["REDIS_URL"], decode_responses=True)


def enqueue(queue, *envelopes):
    """The ids of the jobs: all of them are there once this returns, or none."""
    return server.fcall("windlass_enqueue", 1, f"{PREFIX}:{{{queue}}}", *map(json.dumps, envelopes))


confirm = {"kind": "order.confirm", "payload": {"order": 17}, "unique_key": "confirm:17"}
[job] = enqueue("mail", confirm)
print("enqueued", job)

# Once more: the same key, the same job.
assert enqueue("mail", confirm) == [job]

# Many at once; one that is wrong is named, and nothing is written.
reports = [{"kind": "report.build", "payload": {"n": n}} for n in range(3)]
print("enqueued", len(enqueue("reports", *reports)))
try:
    enqueue("reports", {"kind": "report.build", "payload": {}, "priority": 99})
except redis.ResponseError as error:
    code, _, message = str(error).partition(" ")
    assert code == "WINDLASS_OUT_OF_RANGE", error
    print("refused", message)

# Nobody answers here, and nobody has to be there: a daemon takes it in when it runs.
server.lpush(f"{PREFIX}:inbox", json.dumps({"kind": "report.build", "payload": {"n": 3}, "queue": "reports"}))
