#!/bin/sh
# Kill the agent, the pump and the keeper under a job that counts, and show that nothing is missing.
set -eu
bin=$(cd "$1" && pwd)
PATH=$bin:$PATH
folder=$(mktemp -d)
export JOBWORKER_HOME="$folder/state"
trap 'jw agent stop --jobs >/dev/null 2>&1 || true; rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM

pid_of() { # agent, keeper or pump, by what the agent says of itself; it may be on its way back
    for _ in $(seq 50); do
        pid=$(jw agent info --json 2>/dev/null | python3 -c "
import json, sys
info = json.load(sys.stdin)
print({'agent': info['pid'], **{'keeper': info['keeper']['pid'], 'pump': info['keeper']['pump']}}['$1'] or '')" 2>/dev/null) || pid=
        [ -n "$pid" ] && break
        sleep 0.1
    done
    echo "$pid"
}

jw agent start >/dev/null
job='i=0; while [ $i -lt 150 ]; do i=$((i+1)); echo "$i"; sleep 0.05; done; exit 42'
echo "\$ jw run -- sh -c '$job'"
{
    code=0
    jw run --name counting -- sh -c "$job" >"$folder/out" 2>"$folder/err" || code=$?
    echo "$code" >"$folder/code"
} &
sleep 1
for victim in agent pump keeper agent keeper pump; do
    pid=$(pid_of "$victim")
    echo "line $(wc -l <"$folder/out") has arrived: kill -9 $pid, the $victim"
    kill -9 "$pid"
    sleep 0.7
done
wait
echo "what jw said meanwhile:"
sed 's/^/    /' "$folder/err"
seq 150 >"$folder/expected"
if cmp -s "$folder/out" "$folder/expected" && [ "$(cat "$folder/code")" = 42 ]; then
    echo "150 lines, each once and in order, and exit code 42: nothing was lost."
else
    echo "SOMETHING WAS LOST: exit code $(cat "$folder/code")"
    diff "$folder/out" "$folder/expected" | head
    exit 1
fi
