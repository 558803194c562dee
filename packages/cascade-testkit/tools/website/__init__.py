"""Makes the documentation site of the pages where they are: ``nox -s docs``."""
