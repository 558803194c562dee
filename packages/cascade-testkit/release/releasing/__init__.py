"""What ``nox -s release`` decides: whether a checkout can be released, and whether its archives are whole."""
