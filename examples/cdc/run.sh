#!/bin/sh
# One turn of the medallion: what is in the topics into bronze, then compacted, stage, current. For a timer, or by hand.
set -eu
config="$(dirname "$0")/ingestd.toml"
ingestd run --config "$config" --until-caught-up
for step in compact stage current; do
  ingestd lake "$step" --config "$config"
done
