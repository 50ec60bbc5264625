"""What the plane tells of itself: logs and traces. Nothing here can fail a call."""
