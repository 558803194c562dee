"""Programs that are measured, or that measure, in a process of their own."""
