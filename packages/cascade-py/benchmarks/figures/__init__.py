"""The project's figures: what Cascade costs, beside what is compared with it, in one run."""
