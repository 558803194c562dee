"""The sections of the contract suite of state backends, and the backend in memory."""
