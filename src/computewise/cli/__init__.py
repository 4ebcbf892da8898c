"""The command line: every command parses, calls one library function and prints what came of it."""

from __future__ import annotations

import sys

from cyclopts import App, Parameter
from cyclopts.exceptions import CycloptsError

from computewise.errors import ComputewiseError

app = App(
    name="computewise",
    help="Measure how a language model's test-time compute is best spent, fit a policy, prove it on problems held out.",
    version_flags=["--version"],
    default_parameter=Parameter(consume_multiple=True, negative=()),
)
for _name, (_module, _help) in {
    "study": ("study", "The main job: measure, fit the policy, prove it, write the report."),
    "replay": ("replay", "Fit and prove a policy on recorded samples: no model is run."),
    "check": ("check", "Find out what an OpenAI-compatible server can do, and which strategies that allows."),
    "serve": (
        "serve",
        "Serve compute-optimal answers at an OpenAI-compatible URL; clients' keys: COMPUTEWISE_SERVE_KEYS.",
    ),
    "solve": ("solve", "Solve one problem and show the search, or what a policy decides."),
    "merge": ("runs", "Put together what `study --shard` measured in several places."),
    "export": ("runs", "Write an embedded model or a run's records in a form that other software reads."),
    "report": ("runs", "Write the report of a finished run again."),
    "train": ("train", "Train an embedded model; needs PyTorch, the extra [train]."),
}.items():
    app.command(f"computewise.cli.{_module}:{_name}", name=_name, help=_help)


def main() -> None:
    """Run the command; what a person did wrong is one line on standard error and exit code 2."""
    try:
        app(exit_on_error=False, print_error=False)
    except (CycloptsError, ComputewiseError) as error:
        print(f"computewise: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("computewise: interrupted; what is recorded is kept", file=sys.stderr)
        sys.exit(130)
