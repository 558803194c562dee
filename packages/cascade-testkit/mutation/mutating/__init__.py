"""Change one place of the sources at random, and see whether a test notices: what ``nox -s mutation`` runs."""
