"""What ``cascade watch`` shows: the feed from the broker, a picture of the view, and its forms."""
