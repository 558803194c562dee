"""The calls of one run as nodes: built, linked, mapped and routed. No I/O."""
