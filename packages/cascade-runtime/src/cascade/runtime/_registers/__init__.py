"""The registers of an engine, one for each constraint topic: what they say, and their sync with the broker. No I/O."""
