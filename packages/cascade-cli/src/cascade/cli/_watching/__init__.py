"""The parts of ``cascade watch``: the feed from the broker, a picture of the view, and its forms."""
