"""Steering: a register is written, and the reports show which engines obey it."""

from cascade.cli._steering.compliance import ComplianceTracker
from cascade.cli._steering.gates import Answers, gate_answers
from cascade.cli._steering.notes import reports_on
from cascade.cli._steering.publishing import Wait, steer
from cascade.cli._steering.request import Change, clearing, exact_topics, setting

__all__ = [
    "Answers",
    "Change",
    "ComplianceTracker",
    "Wait",
    "clearing",
    "exact_topics",
    "gate_answers",
    "reports_on",
    "setting",
    "steer",
]
