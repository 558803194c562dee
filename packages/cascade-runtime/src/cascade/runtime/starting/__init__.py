"""A workflow before it is started: checked, asked for its parameters, and made with their values.

``cascade run``, ``cascade start``, a service and a form convert values here, and only here.
"""

from cascade.runtime.starting._conversions import Conversion, Schema, conversion_of
from cascade.runtime.starting._docstrings import descriptions, summary
from cascade.runtime.starting._offered import params_of_texts
from cascade.runtime.starting._parameters import Parameter, of_function, schema_of
from cascade.runtime.starting._startable import Startable, Target, name_of, startable

__all__ = [
    "Conversion",
    "Parameter",
    "Schema",
    "Startable",
    "Target",
    "conversion_of",
    "descriptions",
    "name_of",
    "of_function",
    "params_of_texts",
    "schema_of",
    "startable",
    "summary",
]
