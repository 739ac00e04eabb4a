"""What tests of workflows need: stand-ins that behave like the real parts, and exactly."""
