"""Gates on topics of a plant and on the time of day: what they read, and whether work waits."""
