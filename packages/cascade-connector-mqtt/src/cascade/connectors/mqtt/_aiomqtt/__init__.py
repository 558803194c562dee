"""The client port for aiomqtt 2: the adapter, and what aiomqtt lacks."""
