"""The command line: every command reads its flags, calls one library function and prints the result."""

from __future__ import annotations

import sys

from cyclopts import App, Parameter
from cyclopts.exceptions import CycloptsError

from computewise.cli._console import say
from computewise.errors import ComputewiseError

app = App(
    name="computewise",
    help="Spend a language model's test-time compute where it pays: search for answers, measure, fit a controller.",
    version_flags=["--version"],
    default_parameter=Parameter(consume_multiple=True, negative=()),
)
for _name, (_module, _help) in {
    "study": ("study", "Measure every strategy on a set of problems, fit a controller, test it, and write a report."),
    "replay": ("replay", "Fit a controller to recorded samples and test it; no model is run."),
    "check": ("check", "Find out what an OpenAI-compatible server can do, and which strategies that allows."),
    "serve": (
        "serve",
        "Serve an OpenAI-compatible URL whose answers are searched for, in front of your own server.",
    ),
    "solve": ("solve", "Solve one problem; show the search, the answer and its cost."),
    "merge": ("runs", "Join the shards that `study --shard` measured in several places."),
    "export": ("runs", "Write an embedded model or a run's records in a form that other software reads."),
    "report": ("runs", "Write the report of a finished run again."),
    "train": ("runs", "Train an embedded model; needs PyTorch, the extra [train]."),
}.items():
    app.command(f"computewise.cli.{_module}:{_name}", name=_name, help=_help)


def main() -> None:
    """Run the command; what a person did wrong is one line on standard error and exit code 2."""
    try:
        app(exit_on_error=False, print_error=False)
    except (CycloptsError, ComputewiseError) as error:
        say(f"computewise: {' '.join(str(error).split())}", stderr=True)
        sys.exit(2)
    except KeyboardInterrupt:
        say("computewise: interrupted; what is recorded is kept", stderr=True)
        sys.exit(130)
