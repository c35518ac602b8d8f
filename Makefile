# Each target is one short command. All of them create or refresh .venv first where that is needed.
PORT ?= 5000

# An exported DVC_ROOT would win over this folder.
unexport DVC_ROOT

.PHONY: repro test ui bench venv lint lock

repro: venv  ## run the pipeline; then open reports/site/index.html
	PATH="$$PWD/.venv/bin:$$PATH" .venv/bin/dvc repro
	@echo "Open reports/site/index.html"

test: venv  ## run the tests
	.venv/bin/python -m pytest -n 2 --dist loadfile

ui: venv  ## MLflow's pages on 127.0.0.1, PORT=5000
	.venv/bin/facet ui --port $(PORT)

bench: venv  ## speed beside other programs (needs ../shared/celeba-16k and ../shared/celeba-labels)
	.venv/bin/python benchmarks/download.py

venv:  ## create .venv from requirements.lock
	@sh scripts/venv.sh

lint: venv  ## check style and types
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy

lock: venv  ## resolve the versions of pyproject.toml anew
	.venv/bin/uv pip compile --universal --python-version 3.11 --extra dev --no-header \
		--no-annotate pyproject.toml -o requirements.lock
