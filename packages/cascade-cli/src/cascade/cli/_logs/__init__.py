"""``cascade logs``: which lines are shown, and how."""
