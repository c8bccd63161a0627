#!/bin/sh
# sh examples/client.sh me.jpg [address]          (while `personae serve` runs)
# The same as examples/client.py, with curl: a picture, and the identity of a photo as a file.
set -eu
photo=$1
address=${2:-http://127.0.0.1:8000}
out=${3:-.}

# The job's end is waited for, up to a minute; its first file's address is in the answer.
first_file() { sed 's/.*"url":"\(\/v1\/jobs\/[0-9a-f]*\/results\/[^"]*\)".*/\1/'; }

url=$(curl --fail-with-body --silent --show-error \
    -F "request={\"consent\": true, \"people\": [\"me.jpg\"], \"seed\": 7, \"options\": {\"num_inference_steps\": 2}}" \
    -F "files=@$photo;filename=me.jpg" "$address/v1/generate?wait=60" | first_file)
curl --fail --silent --show-error --output "$out/me-seed7.png" "$address$url"

url=$(curl --fail-with-body --silent --show-error \
    -F 'request={"consent": true, "people": ["me.jpg"]}' \
    -F "files=@$photo;filename=me.jpg" "$address/v1/identities/mean?wait=60" | first_file)
curl --fail --silent --show-error --output "$out/me.identity" "$address$url"

ls "$out/me-seed7.png" "$out/me.identity"
