"""Control from the broker: registers, sync, and reports of what is in force."""
