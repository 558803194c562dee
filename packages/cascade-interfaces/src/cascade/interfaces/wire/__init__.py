"""The wire: shapes and how they are written (:mod:`.write`)."""
