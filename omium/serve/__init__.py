"""What Omium serves over HTTP."""
