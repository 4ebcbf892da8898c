"""What the models of a run are called: by their roles where they have no better name."""

from __future__ import annotations

from dataclasses import dataclass

from computewise.report.families import Entry

ROLES = ("small", "large", "revision")


def called(label: str) -> str:
    """Without an article: `small model`, or the name itself."""
    return f"{label} model" if label in ROLES else label


@dataclass(frozen=True, slots=True)
class Names:
    """Labels by role."""

    labels: dict[str, str]

    @classmethod
    def of(cls, summary: Entry) -> Names:
        """Those of a run."""
        return cls({role: held["label"] for role, held in summary["models"].items()})

    def short(self, role: str) -> str:
        """For the head of a column: `small`."""
        return self.labels[role]

    def model(self, role: str) -> str:
        """For a label: `small model`."""
        return called(self.labels[role])

    def the(self, role: str) -> str:
        """For a sentence: `the small model`."""
        label = self.labels[role]
        return f"the {called(label)}" if label in ROLES else label

    @property
    def verifier(self) -> str:
        """For a sentence: `the PRM`."""
        label = self.labels["prm"]
        return "the PRM" if label == "prm" else label

    @property
    def verifier_row(self) -> str:
        """For a table, beside the model's own probabilities."""
        label = self.labels["prm"]
        return "PRM (learned verifier)" if label == "prm" else f"{label} (verifier)"


PLAIN = Names({role: role for role in (*ROLES, "prm")})
"""Where a run says no more than small and large."""


def begin(text: str) -> str:
    """With a capital, unless it begins with a model's own name."""
    first = text.split(" ")[0]
    return f"{first.capitalize()}{text[len(first) :]}" if first in (*ROLES, "the") else text
