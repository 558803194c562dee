"""One run on the event loop: what is ready, what runs, and what became of it."""
