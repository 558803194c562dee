"""Write a register, and find out which engines obey it."""

from cascade.cli._steering.answers import Answers
from cascade.cli._steering.desk import Wait, steer
from cascade.cli._steering.request import Change, clearing, setting

__all__ = ["Answers", "Change", "Wait", "clearing", "setting", "steer"]
