"""The SDK behind ``import cascade as cs``."""
