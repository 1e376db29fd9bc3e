#!/bin/sh
# Have an event watched using only Redis: the message of a Celery task, written by hand.
#
#   track.sh SUB CALENDAR_ID < event.json
#
# The body is [positional, keyword, options] as base64 of JSON (Celery's message protocol 2); the queue is
# the Redis list of that name. Waits until the ledger has the event, at most half a minute. Put a password into
# REDISCLI_AUTH, not BROKER_URL: everybody on the machine can see command lines.
set -eu

sub=$1
calendar_id=$2
event=$(cat)
url=${BROKER_URL:-redis://localhost:6379/0}
id=$(cat /proc/sys/kernel/random/uuid 2>/dev/null || uuidgen)

redis() { redis-cli -u "$url" "$@"; }

# These ids need no escaping; in general, encode them as JSON strings.
kwargs=$(printf '{"sub": "%s", "calendar_id": "%s", "event": %s}' "$sub" "$calendar_id" "$event")
body=$(printf '[[], %s, {}]' "$kwargs" | base64 | tr -d '\n')

message=$(cat <<JSON
{
  "body": "$body",
  "content-encoding": "utf-8",
  "content-type": "application/json",
  "headers": {"lang": "sh", "task": "conferencing.track", "id": "$id"},
  "properties": {
    "correlation_id": "$id",
    "delivery_tag": "$id",
    "delivery_mode": 2,
    "delivery_info": {"exchange": "", "routing_key": "reconciler.intake"},
    "body_encoding": "base64"
  }
}
JSON
)
printf '%s' "$message" | redis -x LPUSH reconciler.intake >/dev/null

for _ in $(seq 150); do
  answer=$(redis GET "celery-task-meta-$id")
  if [ -n "$answer" ]; then
    echo "$answer"
    case $answer in *'"status": "SUCCESS"'*) exit 0 ;; *) exit 1 ;; esac
  fi
  sleep 0.2
done
echo "No worker answered within 30 seconds; the message waits on reconciler.intake." >&2
exit 1
