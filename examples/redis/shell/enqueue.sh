#!/bin/sh
# Enqueues jobs with redis-cli: by the function, which answers, and by the inbox, which any Redis takes.
#
#     REDIS_URL=redis://producer:password@localhost:6379/0 ./enqueue.sh
set -eu
prefix=${WINDLASS_PREFIX:-windlass}

enqueue() {
  queue=$1
  shift
  redis-cli -e --raw -u "$REDIS_URL" FCALL windlass_enqueue 1 "$prefix:{$queue}" "$@" 2>&1
}

confirm='{"kind":"order.confirm","payload":{"order":17},"unique_key":"confirm:17"}'
job=$(enqueue mail "$confirm")
echo "enqueued $job"

# Once more: the same key, the same job.
test "$(enqueue mail "$confirm")" = "$job"

# Many at once; one that is wrong is named, and nothing is written.
many=$(enqueue reports '{"kind":"report.build","payload":{"n":0}}' '{"kind":"report.build","payload":{"n":1}}' '{"kind":"report.build","payload":{"n":2}}')
echo "enqueued $(echo "$many" | wc -l)"
if refused=$(enqueue reports '{"kind":"report.build","payload":{},"priority":99}'); then
  echo "priority 99 was taken: $refused" >&2
  exit 1
fi
echo "refused ${refused#*WINDLASS_OUT_OF_RANGE }"

# Nobody answers here, and nobody has to be there: a daemon takes it in when it runs.
redis-cli -e -u "$REDIS_URL" LPUSH "$prefix:inbox" '{"kind":"report.build","payload":{"n":3},"queue":"reports"}' >/dev/null
