"""Access rules as brokers read them, and a broker configuration with them."""
