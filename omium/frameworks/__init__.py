"""One adapter for each agent framework, behind one protocol. Each is an optional extra."""
