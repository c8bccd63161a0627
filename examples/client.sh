#!/bin/sh
# sh examples/client.sh me.jpg [address]          (while `personae serve` runs)
# The same as examples/client.py, with curl: a picture, and the identity of a photo as a file.
set -eu
photo=$1
address=${2:-http://127.0.0.1:8000}
out=${3:-.}

# Sends a request and waits for its job's end, the first minute in the answer itself. If the line breaks or the server is
# busy it is sent again, with the same key, so that it is the same job. Says the address of the job's first file.
first_file() {
    job=$(curl --fail-with-body --silent --show-error --retry 4 --retry-connrefused \
        -H "Idempotency-Key: $(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')" \
        -F "request=$2" -F "files=@$photo;filename=me.jpg" "$address$1?wait=60") || { echo "$job" >&2; return 1; }
    url=$(echo "$job" | grep -o '/v1/jobs/[0-9a-f]*' | head -n 1)
    while echo "$job" | grep -Eq '"status":"(queued|running)"'; do
        sleep 1
        job=$(curl --fail --silent --show-error "$address$url") || return 1
    done
    echo "$job" | grep -q '"status":"done"' || { echo "$job" >&2; return 1; }
    echo "$job" | grep -o '/v1/jobs/[0-9a-f]*/results/[^"]*' | head -n 1
}

url=$(first_file /v1/generate \
    '{"consent": true, "people": ["me.jpg"], "seed": 7, "options": {"num_inference_steps": 2}}')
curl --fail --silent --show-error --output "$out/me-seed7.png" "$address$url"

url=$(first_file /v1/identities/mean '{"consent": true, "people": ["me.jpg"]}')
curl --fail --silent --show-error --output "$out/me.identity" "$address$url"

ls "$out/me-seed7.png" "$out/me.identity"
