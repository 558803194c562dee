"""A broker for trying things out: a program of this machine, started as a child and checked on its sockets."""
