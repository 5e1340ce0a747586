#!/bin/sh
# Run a job through an agent of its own, show what a person would see, and leave nothing behind.
set -eu
bin=$(cd "$1" && pwd)
PATH=$bin:$PATH
folder=$(mktemp -d)
export JOBWORKER_HOME="$folder/state"
trap 'jw agent stop --jobs >/dev/null 2>&1 || true; rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM

show() {
    printf '\n$ %s\n' "$*"
}

job='for i in 1 2 3 4 5; do echo "line $i on stdout"; sleep 0.4; done; echo "a word on stderr" >&2; exit 7'
show "jw run --name demo -- sh -c '$job'"
code=0
jw run --name demo -- sh -c "$job" || code=$?
echo "(the exit code of jw is the job's: $code)"
test "$code" -eq 7

show jw ps -a
jw ps -a
show jw logs demo
jw logs demo
show "jw run --timeout 1s -- sleep 60"
code=0
jw run --timeout 1s -- sleep 60 || code=$?
echo "(124: its time was up)"
test "$code" -eq 124

cat <<TEXT

That agent is gone again. To go on with one of your own:

  . $1/activate
  jw run -- sh -c 'echo hello'   # starts the local agent on first use
  jw ps -a                       # what ran
  jw --help                      # the rest; docs/tutorial.md shows it step by step
TEXT
