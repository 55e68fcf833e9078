"""A worker over HTTP, of the standard library alone: it leases jobs, keeps them while they run, settles them, and says goodbye on SIGTERM.

    WINDLASS_URL=http://127.0.0.1:7717 WINDLASS_TOKEN=windlass_... python worker.py
"""

import json, os, signal, socket, threading, time, urllib.error, urllib.request, uuid
from concurrent.futures import ThreadPoolExecutor

URL, TOKEN = os.environ.get("WINDLASS_URL", "http://127.0.0.1:7717"), os.environ.get("WINDLASS_TOKEN")
QUEUE, SLOTS, LEASE_MS = "python", 4, int(os.environ.get("WINDLASS_LEASE_MS", 15000))
WORKER, GRACE = str(uuid.uuid4()), 10  # this process; seconds that running jobs get to finish
held, freed, stopping, gone = {}, threading.Condition(), threading.Event(), threading.Event()

class Stopped(Exception): ...

class Run:
    def __init__(self): self.why, self.stopped = None, threading.Event()
    def stop(self, why): self.why = self.why or why; self.stopped.set()

def count(job, run): return {"words": len(job["payload"]["text"].split())}

def unsteady(job, run):
    if job["attempt"] == 1: raise RuntimeError("the first attempt fails")
    return {"attempt": job["attempt"]}

def patient(job, run):
    if run.stopped.wait(job["payload"]["seconds"]): raise Stopped  # long work looks at `stopped` now and then

KINDS = {"py.count": count, "py.unsteady": unsteady, "py.patient": patient}

def call(path, **body):
    """Asks until there is an answer: every call of a worker may be made twice."""
    headers = {"content-type": "application/json", **({"authorization": f"Bearer {TOKEN}"} if TOKEN else {})}
    request = urllib.request.Request(URL + path, json.dumps(body.get("ends", body)).encode(), headers)
    while True:
        try:
            with urllib.request.urlopen(request, timeout=60) as answer: return json.loads(answer.read() or "null")
        except urllib.error.HTTPError as error:
            print(path, error.read().decode(), flush=True)
            if error.code not in (408, 409, 429, 503): raise
        except OSError as error: print(path, error, flush=True)
        time.sleep(1)

def run_one(job, run):
    end = {"lease": job["lease"], "verdict": {"complete": {}}}
    try: end["result"] = KINDS[job["kind"]](job, run)
    except Stopped: end["verdict"] = {"cancel": {"reason": "asked to stop"}} if run.why == "cancel" else {"release": {}}
    except Exception as error: end["verdict"] = {"retry": {"error": {"code": type(error).__name__, "message": str(error)}}}
    print(job["kind"], job["id"], *end["verdict"], call("/v1/settle", ends=[end])[0], flush=True)
    with freed: held.pop(job["lease"]); freed.notify()

def beat():
    told = call("/v1/heartbeat", worker=WORKER, lease_ms=LEASE_MS, held=list(held), draining=stopping.is_set())
    for lease, why in [(lease, why) for why in ("lost", "cancel") for lease in told[why]]:
        if lease in held: held[lease].stop(why)
    return told["strays"]

def beat_on():
    while not gone.wait(LEASE_MS / 3000): beat()

def work(pool):
    while True:
        with freed: freed.wait_for(lambda: len(held) < SLOTS)
        asks = {"queues": {QUEUE: SLOTS - len(held)}, "kinds": list(KINDS), "lease_ms": LEASE_MS, "wait_ms": 20000, "nonce": str(uuid.uuid4())}
        for job in call("/v1/lease", worker=WORKER, name=socket.gethostname(), **asks)["jobs"]:
            held[job["lease"]] = Run()
            pool.submit(run_one, job, held[job["lease"]])

signal.signal(signal.SIGTERM, lambda *_: exit())  # out of whatever call waits
threading.Thread(target=beat_on, daemon=True).start()
pool = ThreadPoolExecutor(SLOTS)
try: work(pool)
finally:
    stopping.set()
    with freed: freed.wait_for(lambda: not held, GRACE)
    for run in list(held.values()): run.stop("release")
    pool.shutdown()
    gone.set()
    left = [*held, *beat()]  # what was granted and never begun
    if left: call("/v1/settle", ends=[{"lease": lease, "verdict": {"release": {}}} for lease in left])
    call("/v1/goodbye", worker=WORKER)
