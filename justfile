# List the recipes.
default:
    @just --list

# Run what CI runs: format, lint, types and all tests, the slow group too.
check:
    bash scripts/check

# Format the code and apply the linter's safe fixes.
fix:
    .venv/bin/ruff format .
    .venv/bin/ruff check --fix .

# Run the tests; arguments go to pytest.
test *arguments:
    .venv/bin/python -m pytest {{arguments}}

# Run the slow group: real servers, killed processes, Ray, training.
test-slow *arguments:
    .venv/bin/python -m pytest -m slow {{arguments}}

# Run a script of benchmarks/ by its name.
bench name *arguments:
    .venv/bin/python benchmarks/{{name}}.py {{arguments}}
