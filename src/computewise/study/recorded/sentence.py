"""What a replay found, in a few sentences."""

from __future__ import annotations

from typing import Any

from computewise.intervals import Verdict, verdict


def sentence(summary: dict[str, Any]) -> str:
    """What is saved, what is gained at equal cost, and how a rule that nobody fits does; with 95 % intervals."""
    said = [_saving(summary), _gain(summary), _published(summary)]
    return " ".join(one for one in said if one)


def _saving(summary: dict[str, Any]) -> str:
    gain, same, unit = summary["gain_of_samples"], summary["frontier"]["uniform"], summary["cost"]
    most = gain["budget"]
    if most == 1:
        return "One sample for each problem was recorded: there is nothing to stop early."
    rises = f"from {_percent(same[0])} with one sample to {_percent(same[-1])} with {most} ({_points(gain)} points)"
    says = verdict(gain["ci95"], gain["problems"])
    if says is Verdict.TOO_FEW:
        return f"Accuracy goes {rises} with samples for everybody: {says.value}."
    if says is not Verdict.BETTER:
        return f"Accuracy does not rise clearly with samples for everybody, {rises}: there is nothing to save."
    saved = summary["reached"][-1]
    text = f"Accuracy rises with samples for everybody {rises}."
    if saved["times_fewer"] is None:
        return f"{text} The controller does not reach that of {most}."
    low, high = saved["ci95"]
    ratio = f"{saved['times_fewer']:.1f} [{low:.1f}, {high:.1f}]"
    if low <= 1:
        return f"{text} The controller saves nothing that is certain for that of {most}: {ratio} times fewer {unit}."
    return f"{text} The controller reaches that of {most} with {ratio} times fewer {unit} than equal numbers need."


def _gain(summary: dict[str, Any]) -> str:
    gains = [one for one in summary["controller_minus_uniform"] if one["budget"] > 1]
    if not gains:
        return ""
    mean = summary["mean_minus_uniform"]
    span = f"{gains[0]['budget']}" + (f" to {gains[-1]['budget']}" if len(gains) > 1 else "")
    return (
        f"At equal cost the controller is {_points(mean)} points from equal numbers on average over {span} samples, "
        f"and at none of them less than {100 * mean['at_worst']:+.1f}, with 95 % confidence for all at once."
    )


def _published(summary: dict[str, Any]) -> str:
    rule = next((one for one in summary["rules"]["adaptive_consistency"] if one.get("published")), None)
    if rule is None:
        return ""
    low, high = (100 * end for end in rule["ci95"])
    return (
        f"Adaptive-Consistency, which nobody fits, comes to {_percent(rule)} [{low:.1f}, {high:.1f}] with "
        f"{rule['mean_samples']:.1f} samples at its published threshold of 0.95; at no more than its cost the "
        f"controller is {_points(rule['controller_minus_rule'])} points from it."
    )


def _percent(point: dict[str, Any]) -> str:
    return f"{100 * point['accuracy']:.1f} %"


def _points(found: dict[str, Any]) -> str:
    each = [round(100 * one, 1) + 0.0 for one in (found["difference"], *found["ci95"])]  # no minus before 0.0
    return "{:+.1f} [{:+.1f}, {:+.1f}]".format(*each)
