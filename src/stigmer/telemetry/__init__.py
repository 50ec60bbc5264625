"""What the plane tells of itself: logs, traces and metrics. Nothing here can fail a call."""
