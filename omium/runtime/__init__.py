"""Putting a runtime together: Ray, coordinator, gateway and workers."""
