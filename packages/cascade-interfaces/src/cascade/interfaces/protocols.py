# ruff: noqa: F403 - this module only gives the names of four others a common home
"""All protocols under one name: the connector, the event bus, the executor, and their abilities."""

from cascade.interfaces.abilities import *
from cascade.interfaces.connector import *
from cascade.interfaces.events import *
from cascade.interfaces.executor import *
