"""The examination of a broker: facts are gathered over the network, and pure checks make findings of them."""
