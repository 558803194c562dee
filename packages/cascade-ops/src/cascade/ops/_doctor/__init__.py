"""What is wrong with a broker: facts are gathered over the network, and pure checks make findings of them."""
