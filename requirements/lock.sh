#!/bin/sh
# Rebuild the requirement files with every hash, for Linux and macOS and Python 3.11 and later. Needs uv.
# The servers that the benchmarks compare with: for Linux on x86-64 and Python 3.11 and 3.12 alone.
set -eu
cd "$(dirname "$0")/.."
lock() { # NAME ARGUMENTS...
  target="requirements/$1.txt"
  shift
  echo "  $target"
  uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header ${UPGRADE:+--upgrade} "$@" -o "$target"
}
run="pyproject.toml --extra spark --extra torch --extra serving --extra live"
lock run $run
lock train $run --extra training -c requirements/run.txt
lock dev $run --extra training --extra dev -c requirements/train.txt
lock java --group java --no-annotate
lock bundle requirements/bundle.in --no-annotate
lock deploy --group deploy --no-annotate
for peer in infinity vllm onnx; do
  echo "  benchmarks/peers/$peer.txt"
  (cd benchmarks/peers && uv pip compile -q --python-version 3.11 --python-platform x86_64-manylinux_2_28 --no-annotate \
    --generate-hashes --no-header ${UPGRADE:+--upgrade} --override overrides.txt "$peer.in" -o "$peer.txt")
done
echo "  benchmarks/peers/sentence_transformers.txt"
(cd benchmarks/peers && uv pip compile -q --universal --python-version 3.11 --no-annotate --no-deps \
  --generate-hashes --no-header ${UPGRADE:+--upgrade} sentence_transformers.in -o sentence_transformers.txt)
